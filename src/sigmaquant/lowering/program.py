"""The integer record: one truth for each operator of the quantized network.

Every exporter writes from it and none derives a scale again. The arithmetic is that of
``lowering/reference.py``; this module only holds it.

Values
    A *value* is what flows between operators. A quantized value holds integers q in
    0 .. 2^bits - 1 (uint8) that stand for ``scale * (q - zero_point)``; a float value holds
    float32. Shapes are given without the batch dimension, which is always the first.

Operators, by what they do to integers
    ``Quantize``, ``Dequantize``          float32 <-> uint8
    ``Convolution``, ``Linear``           int32 accumulators, requantized once
    ``MatMul``                            the same, of two values without weights
    ``Add``                               both inputs rescaled by exact dyadic ratios
    ``GlobalAverage``, ``AveragePool``    integer sums, requantized once
    ``Lookup``                            any function of one value, as a table of 2^bits entries
    ``MaxPool``, ``Clamp``, ``Pad``, ``Concat``, ``Reshape``, ``Permute``, ``Slice``
                                          integers moved or compared: scale and zero point kept
    ``FloatOperator``                     an operator that stays float32
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
UInt8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    """How uint8 integers stand for real numbers: ``scale * (q - zero_point)``.

    ``scale`` is exactly representable in float32; q lies in 0 .. 2^bits - 1.
    """

    scale: float
    zero_point: int
    bits: int

    @property
    def highest(self) -> int:
        """The largest integer."""
        return int(2**self.bits - 1)


@dataclass(frozen=True)
class Value:
    """A tensor between operators; ``encoding`` is None where it is float32."""

    name: str
    shape: tuple[int, ...]
    encoding: Encoding | None


@dataclass(frozen=True)
class Operator:
    """An operator: the values it reads and the one it writes, by name."""

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Quantize(Operator):
    """float32 to the output's encoding: clamp(round_half_even(x / scale) + zero_point)."""


@dataclass(frozen=True)
class Dequantize(Operator):
    """To float32: scale * (q - zero_point)."""


@dataclass(frozen=True)
class Weights:
    """The integers of one layer; shared by several operators where the layer is used repeatedly.

    Attributes:
        layer: the layer's name.
        bits: width of the weights.
        values: (out, in/groups, *kernel) or (out, in); integers in -2^(bits-1) .. 2^(bits-1)-1.
        scales: (out,): one float32 scale an output channel.
    """

    layer: str
    bits: int
    values: Int8Array
    scales: Float32Array


@dataclass(frozen=True)
class Convolution(Operator):
    """1-d or 2-d convolution; padding holds the input's zero point (real zero).

    Attributes:
        bias: (out,) int32 at scale input_scale * weight_scales.
        stride, dilation: one number a spatial dimension.
        padding: (begin, end) a spatial dimension.
    """

    weights: Weights
    bias: Int32Array
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Linear(Operator):
    """Over the last dimension. A float output is accumulator * (input_scale * weight_scale)."""

    weights: Weights
    bias: Int32Array


@dataclass(frozen=True)
class MatMul(Operator):
    """Matrix product of two values over their last two dimensions, those before them equal."""


@dataclass(frozen=True)
class Add(Operator):
    """Sum of two values of one shape.

    ``input_scale / output_scale`` of both inputs is a multiple of 2^-fraction_bits, exactly, in
    float32 division; so a runtime that computes in float32 gets the integer result.
    """

    fraction_bits: int


@dataclass(frozen=True)
class GlobalAverage(Operator):
    """Mean over all spatial dimensions; ``keepdim`` keeps them as 1."""

    keepdim: bool


@dataclass(frozen=True)
class AveragePool(Operator):
    """Mean over windows; padding counts as real zero."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Lookup(Operator):
    """output = table[input]; ``function`` names what it approximates, such as "silu"."""

    table: UInt8Array
    function: str


@dataclass(frozen=True)
class MaxPool(Operator):
    """Maximum over windows; padding never wins."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    ceil_mode: bool


@dataclass(frozen=True)
class Clamp(Operator):
    """Integers limited to low .. high; a ReLU has low = zero_point."""

    low: int
    high: int


@dataclass(frozen=True)
class Pad(Operator):
    """Real zeros around the value: (begin, end) for each dimension of the shape without batch."""

    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Concat(Operator):
    """Along ``axis`` of the shape without batch; all inputs have the output's encoding."""

    axis: int


@dataclass(frozen=True)
class Reshape(Operator):
    """To the output's shape; the batch dimension stays."""


@dataclass(frozen=True)
class Permute(Operator):
    """Dimensions of the shape without batch, reordered."""

    order: tuple[int, ...]


@dataclass(frozen=True)
class Slice(Operator):
    """start:stop:step along each of some axes of the shape without batch."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True)
class FloatOperator(Operator):
    """An operator kept in float32.

    Attributes:
        target: the ATen operator, such as ``aten.softmax.int``.
        arguments: its positional arguments; ``Argument(i)`` stands for ``inputs[i]``,
            ``BatchSize()`` for the number of samples; NumPy arrays are parameters. The initial
            state of a recurrent layer is None: zeros. Of its results the first is the output.
        keywords: its keyword arguments.
    """

    target: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass(frozen=True)
class Argument:
    """Placeholder for the input of that index in a ``FloatOperator``'s arguments."""

    index: int


@dataclass(frozen=True)
class BatchSize:
    """Placeholder for the number of samples in a ``FloatOperator``'s arguments."""


@dataclass(frozen=True)
class IntegerProgram:
    """The quantized network as integers, in order of execution.

    Attributes:
        network: name of the network's class.
        values: every value by name.
        operators: in order; each reads only inputs and what was written before.
        inputs: names of the network's inputs (float values).
        outputs: names of the network's outputs (float values).
    """

    network: str
    values: dict[str, Value]
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The weights of all layers, each once, in order of first use."""
        found = {
            operator.weights.layer: operator.weights
            for operator in self.operators
            if isinstance(operator, Convolution | Linear)
        }
        return tuple(found.values())
