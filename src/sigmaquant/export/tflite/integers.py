"""One writer for each integer operator that is no layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.tflite.flatfile import INT8, INT32, UINT8, Quantization
from sigmaquant.export.tflite.layers import write_convolution, write_linear
from sigmaquant.export.tflite.layout import Layout, channels_last, plain
from sigmaquant.export.tflite.sheet import LOWEST, Sheet
from sigmaquant.export.tflite.windows import Window, padded
from sigmaquant.lowering.arithmetic import accumulator_scale
from sigmaquant.lowering.program import (
    Add,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    GlobalAverage,
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
)
from sigmaquant.lowering.reference import max_pool_padding, window_scale

_SPATIAL_DIMENSIONS = (1, 2)
_TABLE_SIZE = 256
_LARGEST_RANK = 5  # PAD, STRIDED_SLICE and TRANSPOSE with the batch dimension


def write_integer_operator(sheet: Sheet, operator: Operator) -> None:
    """Append the operator's nodes.

    Raises:
        UnsupportedError: TensorFlow Lite cannot run the operator.
    """
    _WRITERS[type(operator)](sheet, operator)


def _quantize(sheet: Sheet, operator: Quantize) -> None:
    """The input itself where the file's interface is integer."""
    source, target = operator.inputs[0], operator.output
    tensor, layout = sheet.tensor(source), sheet.layout(source)
    if sheet.graph.record(tensor).kind == INT8:
        sheet.keep(target, sheet.limited(tensor, target, layout), layout)
    else:
        sheet.computed("QUANTIZE", [tensor], target, layout)


def _dequantize(sheet: Sheet, operator: Dequantize) -> None:
    """To float; to the interface's integers where only the user reads the result."""
    source, target = operator.inputs[0], operator.output
    is_output = target in sheet.program.outputs
    layout = sheet.interface_layout(target) if is_output else sheet.layout(source)
    tensor = sheet.tensor(source, layout)
    read_inside = any(target in other.inputs for other in sheet.program.operators)
    interface = sheet.options.interface
    if interface == "float32" or read_inside or not is_output:
        sheet.moved("DEQUANTIZE", [tensor], target, layout)
    elif interface == "int8":
        sheet.keep(target, tensor, layout)
    else:
        encoding = sheet.encoding(source)
        shape = (1, *layout.shape(sheet.value(source).shape))
        quantization = Quantization((encoding.scale,), encoding.zero_point)
        output = sheet.graph.tensor(target, shape, UINT8, quantization)
        sheet.keep(target, sheet.graph.add("QUANTIZE", [tensor], output), layout)


def _matmul(sheet: Sheet, operator: MatMul) -> None:
    layout = plain(len(sheet.value(operator.output).shape))
    inputs = [sheet.tensor(name, layout) for name in operator.inputs]
    sheet.computed("BATCH_MATMUL", inputs, operator.output, layout)


def _add(sheet: Sheet, operator: Add) -> None:
    left, right = operator.inputs
    layout = sheet.layout(left)
    inputs = [sheet.tensor(left), sheet.tensor(right, layout)]
    sheet.computed("ADD", inputs, operator.output, layout)


def _global_average(sheet: Sheet, operator: GlobalAverage) -> None:
    source = operator.inputs[0]
    layout = _pixels(sheet, operator)
    axes = sheet.graph.integers(range(1, len(layout.axes)))
    output = layout if operator.keepdim else Layout((0,))
    inputs = [sheet.tensor(source, layout), axes]
    sheet.computed("MEAN", inputs, operator.output, output, keepDims=operator.keepdim)


def _pixels(sheet: Sheet, operator: Operator) -> Layout:
    """The layout that kernels over pixels want of the operator's input."""
    dimensions = len(sheet.value(operator.inputs[0]).shape) - 1
    if dimensions not in _SPATIAL_DIMENSIONS:
        raise UnsupportedError(
            f"{operator.name}: {type(operator).__name__} over {dimensions} dimensions; TensorFlow "
            "Lite takes 1 and 2"
        )
    return channels_last(dimensions + 1)


def _average_pool(sheet: Sheet, operator: AveragePool) -> None:
    """MEAN of the one window that there is; a depthwise convolution where there are more.

    AVERAGE_POOL_2D would keep the input's scale, round twice and not count padding.
    """
    counts = sheet.value(operator.output).shape[1:]
    padding = (side for sides in operator.padding for side in sides)
    if not any(padding) and all(count == 1 for count in counts):
        _mean_of_window(sheet, operator)
    else:
        _depthwise_average(sheet, operator)


def _mean_of_window(sheet: Sheet, operator: AveragePool) -> None:
    layout, source = _pixels(sheet, operator), sheet.value(operator.inputs[0])
    tensor = sheet.tensor(source.name, layout)
    window = (source.shape[0], *operator.kernel)
    if window != source.shape:
        shape = layout.shape(window)
        output = sheet.like(tensor, shape)
        tensor = _cut(sheet, tensor, output, [0] * len(shape), shape, [1] * len(shape))
    axes = sheet.graph.integers(range(1, len(layout.axes)))
    sheet.computed("MEAN", [tensor, axes], operator.output, layout, keepDims=True)


def _depthwise_average(sheet: Sheet, operator: AveragePool) -> None:
    """Weights of one at scale 1/count, as the reference computes it."""
    layout, source = _pixels(sheet, operator), sheet.value(operator.inputs[0])
    window = Window.over(operator.kernel, operator.stride, operator.padding)
    given = padded(sheet, operator, window, layout)
    ones = np.ones((1, *window.kernel, source.shape[0]), np.int8)
    scales = np.full(source.shape[0], window_scale(operator), np.float32)
    sums = accumulator_scale(sheet.encoding(source.name).scale, scales)
    parameters = [
        sheet.graph.constant(ones, Quantization(tuple(scales.tolist()), axis=3)),
        sheet.graph.constant(
            np.zeros(source.shape[0], np.int32), Quantization(tuple(sums.tolist()))
        ),
    ]
    sheet.computed(
        "DEPTHWISE_CONV_2D",
        [given.tensor, *parameters],
        operator.output,
        layout,
        padding=given.mode,
        depthMultiplier=1,
        **window.strides,
    )


def _max_pool(sheet: Sheet, operator: MaxPool) -> None:
    if any(step != 1 for step in operator.dilation):
        raise UnsupportedError(
            f"{operator.name}: max pooling with dilation {operator.dilation}; TensorFlow Lite has "
            "none"
        )
    layout = _pixels(sheet, operator)
    source, output = sheet.value(operator.inputs[0]), sheet.value(operator.output)
    padding = max_pool_padding(operator, source, output)
    window = Window.over(operator.kernel, operator.stride, padding)
    lowest = float(np.finfo(np.float32).min) if source.encoding is None else LOWEST
    given = padded(sheet, operator, window, layout, lowest)
    sheet.moved(
        "MAX_POOL_2D",
        [given.tensor],
        operator.output,
        layout,
        padding=given.mode,
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
        **window.strides,
    )


def _lookup(sheet: Sheet, operator: Lookup) -> None:
    """GATHER from a table of 256 entries; those that the input's width cannot reach are 0.

    Exact for any function, where TensorFlow Lite's own LOGISTIC or TANH prescribe an output scale.
    CAST to uint8 would save the ADD, but TFLite Micro has no such kernel.
    """
    source, target = operator.inputs[0], operator.output
    graph, layout = sheet.graph, sheet.layout(source)
    shape = (1, *layout.shape(sheet.value(source).shape))
    missing = sheet.encoding(source).highest + 1 - operator.table.size
    assert missing <= 0, f"{operator.name}: the table lacks {missing} entries"
    table = np.zeros(_TABLE_SIZE, np.int8)
    table[: operator.table.size] = operator.table.astype(np.int16) + LOWEST
    integers = graph.add(
        "CAST", [sheet.tensor(source)], graph.tensor("", shape, INT32),
        inDataType=INT8, outDataType=INT32,
    )  # fmt: skip
    offset = graph.integers([-LOWEST])
    indices = graph.add("ADD", [integers, offset], graph.tensor("", shape, INT32))
    entries = graph.constant(table, sheet.quantization(target))
    sheet.moved("GATHER", [entries, indices], target, layout)


def _clamp(sheet: Sheet, operator: Clamp) -> None:
    source, target = operator.inputs[0], operator.output
    encoding, layout, tensor = sheet.encoding(target), sheet.layout(source), sheet.tensor(source)
    limits = {"MAXIMUM": (operator.low, 0), "MINIMUM": (operator.high, encoding.highest)}
    for kind, (limit, loosest) in limits.items():
        if limit != loosest:
            bound = np.array([limit + LOWEST], np.int8)
            inputs = [tensor, sheet.graph.constant(bound, sheet.quantization(target))]
            tensor = sheet.graph.add(kind, inputs, sheet.fresh(target, layout))
    sheet.keep(target, tensor, layout)


def _pad(sheet: Sheet, operator: Pad) -> None:
    source = operator.inputs[0]
    layout = sheet.layout(source)
    _check_rank(operator, layout)
    sides = np.zeros((1 + len(layout.axes), 2), np.int32)
    for axis, side in enumerate(operator.padding):
        sides[layout.place(axis)] = side
    inputs = [sheet.tensor(source), sheet.graph.integers(sides)]
    sheet.moved("PAD", inputs, operator.output, layout)


def _check_rank(operator: Operator, layout: Layout) -> None:
    rank = 1 + len(layout.axes)
    if rank > _LARGEST_RANK:
        raise UnsupportedError(
            f"{operator.name}: {type(operator).__name__} of {rank} dimensions; TensorFlow Lite "
            f"takes {_LARGEST_RANK}"
        )


def _concat(sheet: Sheet, operator: Concat) -> None:
    layout = sheet.layout(operator.inputs[0])
    inputs = [sheet.tensor(name, layout) for name in operator.inputs]
    axis = layout.place(operator.axis)
    sheet.moved("CONCATENATION", inputs, operator.output, layout, axis=axis)


def _reshape(sheet: Sheet, operator: Reshape) -> None:
    source, target = operator.inputs[0], sheet.value(operator.output)
    rank = len(sheet.value(source).shape)
    inputs = [sheet.tensor(source, plain(rank)), sheet.graph.integers([-1, *target.shape])]
    output = plain(len(target.shape))
    sheet.moved("RESHAPE", inputs, target.name, output, newShape=[-1, *target.shape])


def _permute(sheet: Sheet, operator: Permute) -> None:
    """No operator at all: the same tensor in another layout."""
    source = operator.inputs[0]
    layout = sheet.layout(source).permuted(operator.order)
    sheet.keep(operator.output, sheet.tensor(source), layout)


def _slice(sheet: Sheet, operator: Slice) -> None:
    source = operator.inputs[0]
    layout = sheet.layout(source)
    _check_rank(operator, layout)
    shape = layout.shape(sheet.value(source).shape)
    begins, ends, steps = [0] * len(shape), list(shape), [1] * len(shape)
    for axis, *numbers in zip(
        operator.axes, operator.starts, operator.stops, operator.steps, strict=True
    ):
        place = layout.axes.index(axis)
        begins[place], ends[place], steps[place] = numbers
    output = sheet.fresh(operator.output, layout)
    tensor = _cut(sheet, sheet.tensor(source), output, begins, ends, steps)
    sheet.keep(operator.output, tensor, layout)


def _cut(
    sheet: Sheet,
    tensor: int,
    output: int,
    begins: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
) -> int:
    """begin:end:step along each stored dimension, and the whole batch, whatever its size."""
    limits = ([0, *begins], [1, *ends], [1, *steps])
    inputs = [tensor, *map(sheet.graph.integers, limits)]
    batch = 1  # bit 0 of the masks: from the first to the last
    return sheet.graph.add("STRIDED_SLICE", inputs, output, beginMask=batch, endMask=batch)


_WRITERS: dict[type[Operator], Callable[[Sheet, Any], None]] = {
    Quantize: _quantize,
    Dequantize: _dequantize,
    Convolution: write_convolution,
    Linear: write_linear,
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
}
