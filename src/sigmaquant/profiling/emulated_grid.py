"""What is run on an emulated processor: layers of small networks at every width, and operators.

Shapes are small, because each MAC is an instruction or two to emulate; coefficients do not depend
on that, and every kind has shapes in which each of them counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sigmaquant.layers import LayerKind, LayerSpec
from sigmaquant.lowering.program import (
    Add,
    Argument,
    Dequantize,
    Encoding,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Lookup,
    MaxPool,
    Operator,
    Quantize,
    Value,
)
from sigmaquant.profiling.host_chains import LayerChain

_ENCODING = Encoding(scale=2.0**-5, zero_point=128, bits=8)

# inputs, outputs, height and width, kernel, stride
_CONVOLUTIONS = (
    (3, 16, 12, 3, 1),
    (3, 8, 16, 5, 2),
    (1, 32, 14, 5, 2),
    (16, 16, 10, 3, 1),
    (16, 32, 12, 3, 2),
    (8, 24, 8, 3, 1),
    (24, 40, 5, 3, 1),
    (32, 32, 6, 3, 1),
    (32, 64, 6, 3, 2),
    (64, 64, 4, 3, 1),
    (16, 32, 12, 1, 2),
    (16, 16, 12, 1, 1),
    (24, 48, 7, 1, 1),
    (32, 64, 8, 1, 1),
    (64, 64, 6, 1, 1),
    (128, 128, 3, 1, 1),
    (8, 32, 9, 1, 1),
    (40, 24, 6, 1, 1),
)
# channels, height and width, kernel, stride; the kernel for 3 x 3 is another than that for the rest
_DEPTHWISE = (
    (8, 16, 3, 1),
    (16, 12, 3, 2),
    (24, 9, 3, 1),
    (32, 8, 3, 1),
    (48, 12, 3, 1),
    (64, 6, 3, 1),
    (64, 8, 3, 2),
    (64, 12, 3, 1),
    (128, 4, 3, 1),
    (8, 12, 5, 1),
    (32, 8, 5, 1),
    (24, 10, 5, 2),
    (16, 9, 7, 1),
)
# inputs, outputs
_LINEAR = (
    (64, 10),
    (64, 12),
    (640, 128),
    (128, 128),
    (128, 8),
    (8, 128),
    (24, 48),
    (256, 64),
    (300, 33),
    (72, 30),
)
_HEADS = ((64, 10), (64, 12), (128, 640), (256, 5), (100, 40))  # whose results stay float32
_SHAPES = ((16, 16, 16), (32, 8, 8), (64, 4, 4), (24, 7, 9))
_CLASSES = ((10,), (12,), (100,))


@dataclass(frozen=True)
class LayerCase:
    """A layer by itself.

    Attributes:
        chain: what it is.
        to_float: whether a linear layer's results stay float32.
        unpacks_first: whether its weights are expanded to bytes in RAM before they are used.
    """

    chain: LayerChain
    to_float: bool = False
    unpacks_first: bool = False

    @property
    def name(self) -> str:
        """Its shape, for messages."""
        how = " in float" * self.to_float + " unpacked first" * self.unpacks_first
        return f"{self.chain.name}{how}"

    @property
    def layer(self) -> LayerSpec:
        """Its record."""
        own = self.chain.layer
        return own.model_copy(update={"output_group": None}) if self.to_float else own

    def program(self) -> IntegerProgram:
        """A network of it alone."""
        program = self.chain.program(1)
        if not self.to_float:
            return program
        *others, layer, _ = program.operators
        body = (*others, dataclasses.replace(layer, output="y"))
        values = {name: value for name, value in program.values.items() if name != layer.output}
        return dataclasses.replace(program, operators=body, values=values)


@dataclass(frozen=True)
class OperatorCase:
    """An operator without weights.

    Attributes:
        operator: a key of ``OPERATORS``.
        shape: of what it reads: (channels, height, width), or (features,) where it is float.
    """

    operator: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return f"{self.operator} on {'x'.join(map(str, self.shape))}"

    @property
    def quantized(self) -> bool:
        """Whether it works on integers."""
        return self.operator != _SOFTMAX

    @property
    def elements(self) -> int:
        """Values that it reads or writes, whichever is more."""
        return math.prod(self.shape)

    def program(self) -> IntegerProgram:
        """A network of it alone."""
        begin = Quantize("begin", ("x",), "source")
        operator, shape = OPERATORS[self.operator](self.shape)
        values = {
            "x": Value("x", self.shape, None),
            "source": Value("source", self.shape, _ENCODING),
            "y": Value("y", shape, None),
        }
        if self.quantized:
            values["result"] = Value("result", shape, _ENCODING)
            body = [begin, operator, Dequantize("end", ("result",), "y")]
        else:
            values["result"] = Value("result", shape, None)
            body = [begin, Dequantize("real", ("source",), "result"), operator]
        return IntegerProgram("Case", values, tuple(body), ("x",), ("y",))


def _add(shape: tuple[int, ...]) -> tuple[Operator, tuple[int, ...]]:
    return Add("layer0", ("source", "source"), "result", fraction_bits=14), shape


def _max_pool(shape: tuple[int, ...]) -> tuple[Operator, tuple[int, ...]]:
    channels, *sizes = shape
    two, none, one = (2, 2), ((0, 0), (0, 0)), (1, 1)
    pool = MaxPool("layer0", ("source",), "result", two, two, none, one, ceil_mode=False)
    return pool, (channels, *(size // 2 for size in sizes))


def _global_average(shape: tuple[int, ...]) -> tuple[Operator, tuple[int, ...]]:
    return GlobalAverage("layer0", ("source",), "result", keepdim=False), shape[:1]


def _lookup(shape: tuple[int, ...]) -> tuple[Operator, tuple[int, ...]]:
    table = np.arange(256, dtype=np.uint8)[::-1]
    return Lookup("layer0", ("source",), "result", table, "table"), shape


def _softmax(shape: tuple[int, ...]) -> tuple[Operator, tuple[int, ...]]:
    arguments = (Argument(0), -1)
    return FloatOperator("layer0", ("result",), "y", "aten.softmax.int", arguments, {}), shape


_SOFTMAX = "softmax"
OPERATORS: dict[str, Callable[[tuple[int, ...]], tuple[Operator, tuple[int, ...]]]] = {
    "add": _add,
    "max_pool2d": _max_pool,
    "global_average": _global_average,
    "lookup": _lookup,
    _SOFTMAX: _softmax,
}
"""By name in a schedule: (shape of the input) to the operator and the shape of its result."""


def layer_cases(weight_bits: int) -> Iterator[LayerCase]:
    """Layers of all kinds at one weight width."""
    for inputs, outputs, size, kernel, stride in _CONVOLUTIONS:
        shape = (inputs, outputs, weight_bits, size, kernel, stride)
        yield LayerCase(LayerChain(LayerKind.CONV, *shape))
    for channels, size, kernel, stride in _DEPTHWISE:
        shape = (channels, channels, weight_bits, size, kernel, stride)
        yield LayerCase(LayerChain(LayerKind.DEPTHWISE_CONV, *shape))
    for features, to_float in ((_LINEAR, False), (_HEADS, True)):
        for inputs, outputs in features:
            yield LayerCase(LayerChain(LayerKind.LINEAR, inputs, outputs, weight_bits), to_float)


def convolution_cases(weight_bits: int) -> Iterator[LayerCase]:
    """Those that may have a kernel that unpacks first."""
    for case in layer_cases(weight_bits):
        if case.chain.kind is LayerKind.CONV:
            yield dataclasses.replace(case, unpacks_first=True)


def operator_cases() -> Iterator[OperatorCase]:
    """Operators without weights, on integers and on floats."""
    for operator in OPERATORS:
        for shape in _CLASSES if operator == _SOFTMAX else _SHAPES:
            yield OperatorCase(operator, shape)


def side_by_side(programs: Sequence[IntegerProgram]) -> IntegerProgram:
    """One network that runs them one after the other; names begin with their number."""
    values: dict[str, Value] = {}
    operators: list[Operator] = []
    for index, program in enumerate(programs):
        for name, value in program.values.items():
            values[_own(index, name)] = dataclasses.replace(value, name=_own(index, name))
        operators += (_renamed(index, operator) for operator in program.operators)
    return IntegerProgram(
        "Cases",
        values,
        tuple(operators),
        inputs=_all(programs, lambda program: program.inputs),
        outputs=_all(programs, lambda program: program.outputs),
    )


def _renamed(index: int, operator: Operator) -> Operator:
    return dataclasses.replace(
        operator,
        name=_own(index, operator.name),
        inputs=tuple(_own(index, name) for name in operator.inputs),
        output=_own(index, operator.output),
    )


def _all(
    programs: Sequence[IntegerProgram], names: Callable[[IntegerProgram], Iterable[str]]
) -> tuple[str, ...]:
    numbered = enumerate(programs)
    return tuple(_own(index, name) for index, program in numbered for name in names(program))


def _own(index: int, name: str) -> str:
    return f"{index}/{name}"
