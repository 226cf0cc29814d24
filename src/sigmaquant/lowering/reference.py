"""The integer program run in NumPy: what every exported file is compared with.

Convolutions and linear layers accumulate through float64 matrix products, which are exact: an
accumulator fits int32 (checked), and float64 holds every integer up to 2^53.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from sigmaquant.errors import DataError
from sigmaquant.lowering import arithmetic
from sigmaquant.lowering.aten import run_float_operator
from sigmaquant.lowering.program import (
    Add,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    Float32Array,
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

Array = npt.NDArray[Any]
Int64Array = npt.NDArray[np.int64]


def run_reference(program: IntegerProgram, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The program's outputs for a batch.

    Args:
        program: what to run.
        inputs: (batch, *shape) float32 for each of ``program.inputs``.

    Raises:
        DataError: an input is missing, has another shape, or holds NaN where it is quantized.
    """
    values = trace_reference(program, inputs)
    return {name: values[name] for name in program.outputs}


def trace_reference(program: IntegerProgram, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the program for a batch: uint8 where quantized, else float32.

    Raises:
        DataError: as ``run_reference``.
    """
    values = checked_inputs(program, inputs)
    for operator in program.operators:
        values[operator.output] = apply_operator(
            program, operator, [values[name] for name in operator.inputs]
        )
    return values


def checked_inputs(program: IntegerProgram, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The program's inputs as float32, all of one batch size.

    Raises:
        DataError: an input is missing, has another shape, or the batches are empty or differ.
    """
    missing = [name for name in program.inputs if name not in inputs]
    if missing:
        raise DataError(f"no data for the inputs {missing}; given: {sorted(inputs)}")
    arrays = {name: np.asarray(inputs[name], np.float32) for name in program.inputs}
    for name, array in arrays.items():
        expected = program.values[name].shape
        if array.shape[1:] != expected:
            raise DataError(f"input {name!r}: shape {array.shape}, expected (batch, *{expected})")
    sizes = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise DataError(f"the inputs need one batch size of at least 1: {sizes}")
    return arrays


@dataclass(frozen=True)
class _Step:
    """One operator's data: arrays and records of its inputs, record of its output."""

    arrays: Sequence[Array]
    inputs: Sequence[Value]
    output: Value

    @property
    def array(self) -> Array:
        return self.arrays[0]

    @property
    def input_encoding(self) -> Encoding:
        return _encoding(self.inputs[0])

    @property
    def output_encoding(self) -> Encoding:
        return _encoding(self.output)


def _encoding(value: Value) -> Encoding:
    assert value.encoding is not None, f"{value.name} is float where integers are needed"
    return value.encoding


def apply_operator(program: IntegerProgram, operator: Operator, arrays: Sequence[Array]) -> Array:
    """One operator's output for a batch of its inputs."""
    step = _Step(
        arrays,
        [program.values[name] for name in operator.inputs],
        program.values[operator.output],
    )
    result: Array = _RULES[type(operator)](operator, step)
    assert result.shape[1:] == step.output.shape, (operator.name, result.shape, step.output.shape)
    return result


def _quantize(operator: Quantize, step: _Step) -> Array:
    return arithmetic.quantize(step.array, step.output_encoding, operator.name)


def _dequantize(_: Dequantize, step: _Step) -> Array:
    return arithmetic.dequantize(step.array, step.input_encoding)


def _convolution(operator: Convolution, step: _Step) -> Array:
    weights = operator.weights
    windows = _windows(
        arithmetic.centered(step.array, step.input_encoding),
        weights.values.shape[2:],
        operator.stride,
        operator.padding,
        operator.dilation,
        fill=0,
    )
    # One sample at a time, because the unfolded input of a whole batch would not fit in memory.
    accumulator = np.stack([_convolve(sample, operator) for sample in windows])
    spatial = (1,) * (accumulator.ndim - 2)
    accumulator += operator.bias.astype(np.int64).reshape(-1, *spatial)
    multiplier = arithmetic.layer_multiplier(
        step.input_encoding.scale, weights.scales, step.output_encoding.scale
    )
    return arithmetic.requantize(
        _checked(accumulator, operator), multiplier.reshape(-1, *spatial), step.output_encoding
    )


def _convolve(windows: Array, operator: Convolution) -> Int64Array:
    """(channels, *output, *kernel) of one sample to (out, *output)."""
    weights = operator.weights.values
    out, rank, groups = weights.shape[0], weights.ndim - 2, operator.groups
    output = windows.shape[1 : 1 + rank]
    columns = windows.reshape(groups, -1, *windows.shape[1:])
    kernel_first = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    columns = columns.transpose(kernel_first).astype(np.float64)
    matrix = weights.astype(np.float64).reshape(groups, out // groups, -1)
    product = matrix @ columns.reshape(groups, matrix.shape[2], -1)
    return product.astype(np.int64).reshape(out, *output)


def _windows(
    array: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    fill: int | float,
) -> Array:
    """(batch, channels, *spatial) to a view (batch, channels, *output, *kernel)."""
    padded = np.pad(array, ((0, 0), (0, 0), *padding), constant_values=fill)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    spatial_axes = tuple(range(2, array.ndim))
    windows = sliding_window_view(padded, extent, axis=spatial_axes)
    places = [slice(None, None, step) for step in stride]
    taps = [slice(None, None, step) for step in dilation]
    return windows[(slice(None), slice(None), *places, *taps)]


def _checked(accumulator: Int64Array, operator: Operator) -> Int64Array:
    limit = np.iinfo(np.int32)
    fits = accumulator.size == 0 or (
        accumulator.min() >= limit.min and accumulator.max() <= limit.max
    )
    assert fits, f"{operator.name}: accumulator beyond int32; the lowering has to prevent it"
    return accumulator


def _linear(operator: Linear, step: _Step) -> Array:
    weights = operator.weights
    centered = arithmetic.centered(step.array, step.input_encoding).astype(np.float64)
    product = centered @ weights.values.astype(np.float64).T
    accumulator = _checked(product.astype(np.int64) + operator.bias, operator)
    input_scale = step.input_encoding.scale
    if step.output.encoding is None:
        scale = arithmetic.accumulator_scale(input_scale, weights.scales)
        return accumulator.astype(np.float32) * scale
    multiplier = arithmetic.layer_multiplier(
        input_scale, weights.scales, step.output.encoding.scale
    )
    return arithmetic.requantize(accumulator, multiplier, step.output.encoding)


def _matmul(operator: MatMul, step: _Step) -> Array:
    left, right = (_encoding(value) for value in step.inputs)
    matrices = (
        arithmetic.centered(array, encoding).astype(np.float64)
        for array, encoding in zip(step.arrays, (left, right), strict=True)
    )
    accumulator = _checked(np.matmul(*matrices).astype(np.int64), operator)
    multiplier = arithmetic.layer_multiplier(
        left.scale, np.asarray(right.scale, np.float32), step.output_encoding.scale
    )
    return arithmetic.requantize(accumulator, multiplier, step.output_encoding)


def _add(operator: Add, step: _Step) -> Array:
    left, right = (_encoding(value) for value in step.inputs)
    output = step.output_encoding
    ratios = arithmetic.add_ratios(left, right, output, operator.fraction_bits, operator.name)
    return arithmetic.add(
        arithmetic.centered(step.arrays[0], left).astype(np.int64),
        arithmetic.centered(step.arrays[1], right).astype(np.int64),
        ratios,
        operator.fraction_bits,
        output,
    )


def _global_average(operator: GlobalAverage, step: _Step) -> Array:
    axes = tuple(range(2, step.array.ndim))
    centered = arithmetic.centered(step.array, step.input_encoding).astype(np.int64)
    multiplier = arithmetic.average_multiplier(
        step.input_encoding.scale,
        step.output_encoding.scale,
        int(np.prod(step.inputs[0].shape[1:])),
    )
    total = _checked(centered.sum(axes, keepdims=operator.keepdim), operator)
    return arithmetic.requantize(total, multiplier, step.output_encoding)


def _average_pool(operator: AveragePool, step: _Step) -> Array:
    """As a depthwise convolution with weights of one at scale 1/count, which is its export."""
    windows = _windows(
        arithmetic.centered(step.array, step.input_encoding).astype(np.int64),
        operator.kernel,
        operator.stride,
        operator.padding,
        (1,) * len(operator.kernel),
        fill=0,
    )
    kernel_axes = tuple(range(step.array.ndim, windows.ndim))
    multiplier = arithmetic.layer_multiplier(
        step.input_encoding.scale, window_scale(operator), step.output_encoding.scale
    )
    total = _checked(windows.sum(kernel_axes), operator)
    return arithmetic.requantize(total, multiplier, step.output_encoding)


def window_scale(operator: AveragePool) -> Float32Array:
    """One over the number of values in a window: a scalar array, as the scale of unit weights."""
    return np.asarray(1.0 / int(np.prod(operator.kernel)), np.float32)


def _lookup(operator: Lookup, step: _Step) -> Array:
    return operator.table[step.array]


def _max_pool(operator: MaxPool, step: _Step) -> Array:
    lowest = 0 if step.output.encoding else -np.inf
    windows = _windows(
        step.array,
        operator.kernel,
        operator.stride,
        max_pool_padding(operator, step.inputs[0], step.output),
        operator.dilation,
        fill=lowest,
    )
    return np.ascontiguousarray(windows.max(tuple(range(step.array.ndim, windows.ndim))))


def max_pool_padding(
    operator: MaxPool, source: Value, output: Value
) -> tuple[tuple[int, int], ...]:
    """(begin, end) a dimension, the end stretched where ``ceil_mode`` adds a last window.

    Stretched padding gives PyTorch's ceil_mode from the output's size alone; runtimes disagree on
    the attribute itself. Where windows do not reach the end, the padding there changes nothing.
    """
    padding = []
    for axis, (begin, end) in enumerate(operator.padding):
        extent = (operator.kernel[axis] - 1) * operator.dilation[axis] + 1
        reached = (output.shape[1 + axis] - 1) * operator.stride[axis] + extent
        padding.append((begin, max(end, reached - begin - source.shape[1 + axis])))
    return tuple(padding)


def _clamp(operator: Clamp, step: _Step) -> Array:
    return np.clip(step.array, operator.low, operator.high).astype(np.uint8)


def _pad(operator: Pad, step: _Step) -> Array:
    zero = step.output.encoding.zero_point if step.output.encoding else 0
    return np.pad(step.array, ((0, 0), *operator.padding), constant_values=zero)


def _concat(operator: Concat, step: _Step) -> Array:
    return np.concatenate(step.arrays, operator.axis + 1)


def _reshape(_: Reshape, step: _Step) -> Array:
    return step.array.reshape(step.array.shape[0], *step.output.shape)


def _permute(operator: Permute, step: _Step) -> Array:
    return step.array.transpose(0, *(axis + 1 for axis in operator.order))


def _slice(operator: Slice, step: _Step) -> Array:
    cuts = [slice(None)] * step.array.ndim
    for axis, *limits in zip(
        operator.axes, operator.starts, operator.stops, operator.steps, strict=True
    ):
        cuts[axis + 1] = slice(*limits)
    return step.array[tuple(cuts)]


def _float_operator(operator: FloatOperator, step: _Step) -> Array:
    return run_float_operator(operator, step.arrays)


_RULES: dict[type[Operator], Callable[[Any, _Step], Array]] = {
    Quantize: _quantize,
    Dequantize: _dequantize,
    Convolution: _convolution,
    Linear: _linear,
    MatMul: _matmul,
    Add: _add,
    GlobalAverage: _global_average,
    AveragePool: _average_pool,
    Lookup: _lookup,
    MaxPool: _max_pool,
    Clamp: _clamp,
    Pad: _pad,
    Concat: _concat,
    Reshape: _reshape,
    Permute: _permute,
    Slice: _slice,
    FloatOperator: _float_operator,
}
