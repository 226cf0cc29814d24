"""The TensorFlow Lite model of an integer program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sigmaquant._version import __version__
from sigmaquant.artifact import written_atomically
from sigmaquant.export.tflite.flatfile import FLOAT32, INT8, UINT8, Quantization, file_content
from sigmaquant.export.tflite.floats import write_float_operator
from sigmaquant.export.tflite.graph import GraphBuilder
from sigmaquant.export.tflite.integers import write_integer_operator
from sigmaquant.export.tflite.layout import plain
from sigmaquant.export.tflite.options import MicroOptions, TfliteOptions
from sigmaquant.export.tflite.sheet import LOWEST, Place, Sheet, ValueTable
from sigmaquant.lowering.program import FloatOperator, IntegerProgram, Quantize

METADATA_WEIGHT_BITS = "sigmaquant.weight_bits"
"""Name of the file's metadata that holds the bit plan: a JSON object, layer -> bits."""
METADATA_LAYOUTS = "sigmaquant.layouts"
"""Name of the metadata that holds how inputs and outputs are stored, where that is not as the
network has them: a JSON object, name -> the network's dimensions in the file's order."""


@dataclass(frozen=True)
class Model:
    """A finished graph.

    Attributes:
        graph: tensors and operators.
        inputs, outputs: tensors by name.
        places: where each value of the program is.
        metadata: texts by name.
        network: the network's name.
        options: what the file looks like.
        tables: weights that are still to be replaced by indices into tables, by tensor.
    """

    graph: GraphBuilder
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    places: Mapping[str, Place]
    metadata: Mapping[str, str]
    network: str
    options: TfliteOptions | MicroOptions
    tables: Mapping[int, ValueTable]

    def content(self, *, exposed: bool = False) -> bytes:
        """The file's bytes; ``exposed`` makes outputs of all values, to look inside."""
        return file_content(
            self.graph.contents(
                self.inputs,
                self.outputs,
                description=f"{self.network} by sigmaquant {__version__}",
                metadata=self.metadata,
                exposed=[place.tensor for place in self.places.values()] if exposed else [],
            )
        )


def write_tflite(model: Model, path: str | Path) -> None:
    """Write the model's file; it appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    content = model.content()
    with written_atomically(path) as temporary:
        temporary.write_bytes(content)


def build_model(
    program: IntegerProgram, options: TfliteOptions | MicroOptions | None = None
) -> Model:
    """The program as a TensorFlow Lite model of batch size 1, which the runtime can resize.

    Args:
        program: with integer heads (see ``export.heads``).
        options: what the file shall look like.

    Raises:
        UnsupportedError: an operator cannot be expressed; names it and its place.
    """
    sheet = Sheet(GraphBuilder(), program, options or TfliteOptions())
    inputs = {name: _write_input(sheet, name) for name in program.inputs}
    for operator in program.operators:
        if isinstance(operator, FloatOperator):
            write_float_operator(sheet, operator)
        else:
            write_integer_operator(sheet, operator)
    outputs: dict[str, int] = {}
    for name in program.outputs:
        outputs[name] = _write_output(sheet, name, {*inputs.values(), *outputs.values()})
    return Model(
        graph=sheet.graph,
        inputs=inputs,
        outputs=outputs,
        places=sheet.places,
        metadata=_metadata(sheet),
        network=program.network,
        options=sheet.options,
        tables=sheet.tables,
    )


def _write_input(sheet: Sheet, name: str) -> int:
    shape, layout = sheet.value(name).shape, sheet.interface_layout(name)
    kind, quantization = _interface(sheet, name)
    tensor = sheet.graph.tensor(name, (1, *layout.shape(shape)), kind, quantization)
    sheet.keep(name, tensor, layout)
    return tensor


def _interface(sheet: Sheet, name: str) -> tuple[int, Quantization | None]:
    """Element type and quantization of an input: integers only where the network reads integers."""
    readers = [operator for operator in sheet.program.operators if name in operator.inputs]
    interface = sheet.options.interface
    if interface == "float32" or name in sheet.program.outputs:
        return FLOAT32, None
    if len(readers) != 1 or not isinstance(readers[0], Quantize):
        return FLOAT32, None
    encoding = sheet.encoding(readers[0].output)
    offset, kind = (LOWEST, INT8) if interface == "int8" else (0, UINT8)
    return kind, Quantization((encoding.scale,), encoding.zero_point + offset)


def _write_output(sheet: Sheet, name: str, taken: set[int]) -> int:
    """The output's tensor under its name; a copy where the tensor has one already."""
    layout, home = sheet.interface_layout(name), sheet.places[name].tensor
    tensor = sheet.tensor(name, layout)
    if tensor in taken:
        tensor = sheet.reshaped(tensor, layout.shape(sheet.value(name).shape))
    if home not in {tensor, *taken}:
        sheet.graph.rename(home, f"{name}/stored")
    sheet.graph.rename(tensor, name)
    return tensor


def _metadata(sheet: Sheet) -> dict[str, str]:
    program = sheet.program
    bits = {weights.layer: weights.bits for weights in program.weights}
    layouts = {
        name: layout.order
        for name in (*program.inputs, *program.outputs)
        if (layout := sheet.interface_layout(name)) != plain(len(layout.axes))
    }
    texts = {METADATA_WEIGHT_BITS: json.dumps(bits)}
    return texts | ({METADATA_LAYOUTS: json.dumps(layouts)} if layouts else {})
