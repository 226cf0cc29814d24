"""What is called in what order, on values stored in what order.

Reshapes and permutations cost nothing here: they see the same memory otherwise. Where an operator
cannot follow such a view, a copy comes between, made once for all that read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.c.layout import Layout, channels_last, copy_order, row_major, strided
from sigmaquant.export.c.tails import check_tail
from sigmaquant.layers import WIDTHS, container_bits
from sigmaquant.lowering.program import (
    Add,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Linear,
    Lookup,
    MatMul,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Quantize,
    Reshape,
    Slice,
    Value,
)

_KEEPS_LAYOUT = (Add, Clamp, Concat, Lookup, Pad, Slice)
_READS_IMAGES = (AveragePool, Convolution, GlobalAverage, MaxPool)
_MOST_SPATIAL_DIMENSIONS = 2
_FLOAT_BITS = 32


@dataclass(frozen=True)
class Tensor:
    """A value in memory.

    Attributes:
        value: its record.
        layout: the order of its elements.
        buffer: name of the memory; views of one memory share it.
    """

    value: Value
    layout: Layout
    buffer: str

    @property
    def elements(self) -> int:
        """Number of its values."""
        return math.prod(self.value.shape)

    @property
    def bits(self) -> int:
        """Of memory that a value takes: a power of two, below 8 where several share a byte."""
        encoding = self.value.encoding
        return container_bits(encoding.bits) if encoding else _FLOAT_BITS

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return -(-self.elements * self.bits // 8)


@dataclass(frozen=True)
class Rearrange(Operator):
    """Elements copied to another order."""


@dataclass(frozen=True)
class Call:
    """An operator and the memory it works on."""

    operator: Operator
    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclass(frozen=True)
class Schedule:
    """The calls in order, and the memory that belongs to the caller.

    Attributes:
        calls: in order of execution.
        inputs: the network's inputs, row by row, float32.
        outputs: the network's outputs, as the inputs.
    """

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def schedule(program: IntegerProgram) -> Schedule:
    """The program's calls.

    Raises:
        UnsupportedError: an operator that no kernel computes exactly; names it and its place.
    """
    for operator in program.operators:
        _refuse_unsupported(program, operator)
    scheduler = _Scheduler(program)
    for operator in program.operators:
        scheduler.append(operator)
    return scheduler.result()


def _refuse_unsupported(program: IntegerProgram, operator: Operator) -> None:
    place = operator.name
    if isinstance(operator, FloatOperator):
        check_tail(program, operator)
        return
    if isinstance(operator, MatMul):
        raise UnsupportedError(
            f"{place} multiplies two activations, for which the C library has no kernel; "
            "export ONNX or TensorFlow Lite"
        )
    if isinstance(operator, Convolution | MaxPool | AveragePool | GlobalAverage):
        dimensions = len(program.values[operator.inputs[0]].shape) - 1
        if dimensions > _MOST_SPATIAL_DIMENSIONS:
            raise UnsupportedError(f"{place}: {dimensions} spatial dimensions; C takes 1 and 2")
    if isinstance(operator, Convolution | Linear) and operator.weights.bits not in WIDTHS:
        raise UnsupportedError(f"{place}: weights of {operator.weights.bits} bits; 2 to 8 work")
    if not isinstance(operator, Quantize | Dequantize):
        names = (
            operator.inputs if isinstance(operator, Linear) else (*operator.inputs, operator.output)
        )
        for name in names:
            if program.values[name].encoding is None:
                raise UnsupportedError(
                    f"{place} ({type(operator).__name__}) works on the float value {name!r}, and "
                    "the C library computes in integers; export ONNX"
                )


class _Scheduler:
    """The walk over the program; calls and tensors grow with it."""

    def __init__(self, program: IntegerProgram) -> None:
        self._program = program
        self._tensors = {name: self._own(name, row_major) for name in program.inputs}
        self._copies: dict[tuple[str, Layout, Layout], Tensor] = {}
        self._calls: list[Call] = []

    def _own(self, name: str, order: Callable[[tuple[int, ...]], Layout]) -> Tensor:
        """A new memory of the value's own."""
        value = self._program.values[name]
        return Tensor(value, order(value.shape), name)

    def append(self, operator: Operator) -> None:
        """Schedule one operator."""
        _RULES[type(operator)](self, operator)

    def result(self) -> Schedule:
        """What has been scheduled."""
        tensors = self._tensors
        inputs = tuple(tensors[name] for name in self._program.inputs)
        for name in self._program.outputs:
            if name in self._program.inputs:
                raise UnsupportedError(f"the output {name!r} is an input as it is; leave it out")
        outputs = tuple(tensors[name] for name in dict.fromkeys(self._program.outputs))
        return Schedule(tuple(self._calls), inputs, outputs)

    def _call(self, operator: Operator, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._calls.append(Call(operator, inputs, output))
        self._tensors[operator.output] = output

    def _stored(self, tensor: Tensor, layout: Layout) -> Tensor:
        """The tensor in that layout, copied where it has another."""
        if tensor.layout == layout:
            return tensor
        key = tensor.buffer, tensor.layout, layout
        if key not in self._copies:
            plain = row_major(tensor.value.shape)
            if copy_order(tensor.layout, layout) is None:  # by way of an order that fits both
                return self._stored(self._stored(tensor, plain), layout)
            copy = Tensor(tensor.value, layout, f"{tensor.buffer}/copy{len(self._copies)}")
            operator = Rearrange(tensor.value.name, (tensor.buffer,), copy.buffer)
            self._calls.append(Call(operator, (tensor,), copy))
            self._copies[key] = copy
        return Tensor(tensor.value, layout, self._copies[key].buffer)

    def _image(self, name: str) -> Tensor:
        return self._stored(self._tensors[name], channels_last(self._program.values[name].shape))

    def _by_dimension(self, name: str) -> Tensor:
        """The value in a layout that has one stride for each of its dimensions."""
        tensor = self._tensors[name]
        shape = tensor.value.shape
        if tensor.layout.strides_of(shape) is None:
            return self._stored(tensor, row_major(shape))
        return tensor

    def _read_as_image(self, name: str) -> bool:
        """Whether an operator that wants channels last reads the value, perhaps a few steps on."""
        readers = [op for op in self._program.operators if name in op.inputs]
        return any(
            isinstance(reader, _READS_IMAGES)
            or (isinstance(reader, _KEEPS_LAYOUT) and self._read_as_image(reader.output))
            for reader in readers
        )

    def quantize(self, operator: Quantize) -> None:
        """In the order that its readers want."""
        order = channels_last if self._read_as_image(operator.output) else row_major
        source = self._tensors[operator.inputs[0]]
        self._call(operator, (source,), self._own(operator.output, order))

    def dequantize(self, operator: Dequantize) -> None:
        """To the record's own order."""
        source, output = self._tensors[operator.inputs[0]], self._own(operator.output, row_major)
        assert copy_order(source.layout, output.layout) is not None
        self._call(operator, (source,), output)

    def softmax(self, operator: FloatOperator) -> None:
        """In the caller's memory: over its input, unless that is an output of its own."""
        source, value = self._tensors[operator.inputs[0]], self._program.values[operator.output]
        is_output = source.value.name in self._program.outputs
        buffer = operator.output if is_output else source.buffer
        self._call(operator, (source,), Tensor(value, row_major(value.shape), buffer))

    def image(self, operator: Operator) -> None:
        """What reads and writes images."""
        source = self._image(operator.inputs[0])
        self._call(operator, (source,), self._own(operator.output, channels_last))

    def linear(self, operator: Linear) -> None:
        """A vector may be stored in any order: the weights follow."""
        source = self._tensors[operator.inputs[0]]
        if len(source.value.shape) > 1:
            source = self._stored(source, row_major(source.value.shape))
        self._call(operator, (source,), self._own(operator.output, row_major))

    def elementwise(self, operator: Operator) -> None:
        """In the order of the first input."""
        first, *others = (self._tensors[name] for name in operator.inputs)
        inputs = (first, *(self._stored(other, first.layout) for other in others))
        output = self._own(operator.output, lambda _: first.layout)
        self._call(operator, inputs, output)

    def region(self, operator: Operator) -> None:
        """Copies of parts: channels last if the first input is."""
        inputs = tuple(self._by_dimension(name) for name in operator.inputs)
        first = inputs[0]
        is_image = first.layout == channels_last(first.value.shape)
        order = channels_last if is_image else row_major
        self._call(operator, inputs, self._own(operator.output, order))

    def reshape(self, operator: Reshape) -> None:
        """The same memory: a reshape keeps the record's order."""
        source = self._tensors[operator.inputs[0]]
        value = self._program.values[operator.output]
        self._tensors[operator.output] = Tensor(value, source.layout, source.buffer)

    def permute(self, operator: Permute) -> None:
        """The same memory, its dimensions seen in another order."""
        source = self._by_dimension(operator.inputs[0])
        value = self._program.values[operator.output]
        strides = source.layout.strides_of(source.value.shape)
        assert strides is not None, operator.name
        layout = strided(value.shape, [strides[axis] for axis in operator.order])
        self._tensors[operator.output] = Tensor(value, layout, source.buffer)


_RULES: dict[type[Operator], Callable[[_Scheduler, Any], None]] = {
    Quantize: _Scheduler.quantize,
    Dequantize: _Scheduler.dequantize,
    FloatOperator: _Scheduler.softmax,
    Convolution: _Scheduler.image,
    Linear: _Scheduler.linear,
    Add: _Scheduler.elementwise,
    GlobalAverage: _Scheduler.image,
    AveragePool: _Scheduler.image,
    Lookup: _Scheduler.elementwise,
    MaxPool: _Scheduler.image,
    Clamp: _Scheduler.elementwise,
    Pad: _Scheduler.region,
    Concat: _Scheduler.region,
    Reshape: _Scheduler.reshape,
    Permute: _Scheduler.permute,
    Slice: _Scheduler.region,
}
