"""The float graph of an integer program, and the encoding of each of its tensors.

Made from the QONNX model: what a ``Quant`` node says moves to the encodings, and the node goes. A
tensor has one encoding here, so what is read as integers cannot be read as floats too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import Model as OnnxModel
from sigmaquant.export.onnx.graph import initializers, node
from sigmaquant.export.qnn.encodings import TensorEncoding
from sigmaquant.export.qonnx.functions import function_of
from sigmaquant.export.qonnx.model import build_model as build_qonnx
from sigmaquant.export.qonnx.sheet import DOMAIN, real_tensors
from sigmaquant.export.qonnx.simulation import Grid, quants, set_items
from sigmaquant.lowering.program import Encoding, IntegerProgram, Lookup

WEIGHT_BITS = (4, 8)
"""Of the HTP's convolutions and matrix products with 8-bit activations."""
ACTIVATION_BITS = 8
"""The HTP runs 8 and 16; an integer program has no more than 8."""


@dataclass(frozen=True)
class Model:
    """What the files hold.

    Attributes:
        onnx: the float graph.
        activations, parameters: encodings of computed and of stored tensors.
        tensors: the tensor that holds each value of the program.
        unrounded: values that are floats, and whose tensor has an encoding because nothing reads
            them but what quantizes them.
    """

    onnx: OnnxModel
    activations: tuple[TensorEncoding, ...]
    parameters: tuple[TensorEncoding, ...]
    tensors: Mapping[str, str]
    unrounded: frozenset[str]


def build_model(program: IntegerProgram) -> Model:
    """The files of a program with integer heads.

    Raises:
        UnsupportedError: a width that the HTP does not run, an operator that cannot be expressed,
            or a value that is read as integers and as floats; names it.
    """
    _refuse_widths(program)
    _refuse_tables(program)
    return _Stripped(build_qonnx(program)).model(program)


def _refuse_widths(program: IntegerProgram) -> None:
    for weights in program.weights:
        if weights.bits not in WEIGHT_BITS:
            raise UnsupportedError(
                f"{weights.layer}: weights of {weights.bits} bits; the HTP stores "
                f"{' or '.join(map(str, WEIGHT_BITS))}, so search a plan of these widths"
            )
    for value in program.values.values():
        if value.encoding is not None and value.encoding.bits != ACTIVATION_BITS:
            raise UnsupportedError(
                f"{value.name}: activations of {value.encoding.bits} bits; the HTP runs 8 or 16, "
                f"so search with activations of {ACTIVATION_BITS} bits"
            )


def _refuse_tables(program: IntegerProgram) -> None:
    for operator in program.operators:
        if isinstance(operator, Lookup) and not _is_known(program, operator):
            raise UnsupportedError(
                f"{operator.name}: a table of {operator.function!r} that no operator known to "
                "Qualcomm's converter gives"
            )


def _is_known(program: IntegerProgram, operator: Lookup) -> bool:
    source, output = (_encoding(program, name) for name in (operator.inputs[0], operator.output))
    return function_of(operator, source, output) is not None


def _encoding(program: IntegerProgram, name: str) -> Encoding:
    encoding = program.values[name].encoding
    assert encoding is not None, f"{name} is float where integers are needed"
    return encoding


class _Stripped:
    """A QONNX model without its ``Quant`` nodes; what they said by the tensors that stay."""

    def __init__(self, annotated: OnnxModel) -> None:
        self._annotated = annotated
        self._constants = set(initializers(annotated))
        self._inputs = {port.name for port in annotated.graph.input}
        self._outputs = {port.name for port in annotated.graph.output}
        self._readers = Counter(name for item in annotated.graph.node for name in item.input)
        self._renamed: dict[str, str] = {}
        self._kept: list[Any] = []
        self._unrounded: set[str] = set()
        self._activations: dict[str, TensorEncoding] = {}
        self._parameters: dict[str, TensorEncoding] = {}
        for quant, grid in quants(annotated):
            self._strip(quant.input[0], quant.output[0], grid)

    def _strip(self, source: str, result: str, grid: Grid) -> None:
        if source in self._constants:
            self._renamed[result] = source
            self._parameters[source] = _from_grid(source, grid, signed=True)
            return
        if self._readers[source] > 1 or source in self._outputs:
            raise UnsupportedError(
                f"{source!r} is read as float numbers and as integers; Qualcomm's converter gives "
                "a tensor one encoding"
            )
        if source not in self._inputs:
            self._renamed[source] = result
            self._unrounded.add(source)
        elif result in self._outputs:
            self._kept.append(node("Identity", [source], result))
            self._activations[source] = _from_grid(source, grid, signed=False)
        else:
            self._renamed[result] = source
        name = self._renamed.get(result, result)
        self._activations[name] = _from_grid(name, grid, signed=False)

    def model(self, program: IntegerProgram) -> Model:
        """The result; values that are only moved have encodings too."""
        annotated = real_tensors(program)
        tensors = {name: self._renamed.get(tensor, tensor) for name, tensor in annotated.items()}
        unrounded = frozenset(name for name in annotated if annotated[name] in self._unrounded)
        for name, value in program.values.items():
            if value.encoding is not None:
                encoding = _from_encoding(tensors[name], value.encoding)
                self._activations.setdefault(tensors[name], encoding)
        activations, parameters = self._activations.values(), self._parameters.values()
        return Model(self._graph(), tuple(activations), tuple(parameters), tensors, unrounded)

    def _graph(self) -> OnnxModel:
        copy = type(self._annotated)()
        copy.CopyFrom(self._annotated)
        set_items(copy.graph.node, self._nodes())
        read = {name for item in copy.graph.node for name in item.input}
        set_items(copy.graph.initializer, [c for c in copy.graph.initializer if c.name in read])
        set_items(copy.opset_import, [item for item in copy.opset_import if item.domain != DOMAIN])
        return copy

    def _nodes(self) -> Iterator[Any]:
        for original in self._annotated.graph.node:
            if original.domain == DOMAIN:
                continue
            item = type(original)()
            item.CopyFrom(original)
            for names in (item.input, item.output):
                set_items(names, [self._renamed.get(name, name) for name in names])
            yield item
        yield from self._kept


def _from_grid(name: str, grid: Grid, *, signed: bool) -> TensorEncoding:
    bits = (grid.highest - grid.lowest).bit_length()
    scales = tuple(float(scale) for scale in grid.scale.reshape(-1))
    return TensorEncoding(name, scales, grid.zero_point, bits, signed, per_channel=signed)


def _from_encoding(name: str, encoding: Encoding) -> TensorEncoding:
    scales, zero_point = (encoding.scale,), encoding.zero_point
    return TensorEncoding(name, scales, zero_point, encoding.bits, signed=False, per_channel=False)
