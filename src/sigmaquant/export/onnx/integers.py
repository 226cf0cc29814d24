"""One writer for each integer operator.

Operators that compute are written as ``DequantizeLinear -> operator -> QuantizeLinear``, which the
runtime fuses to an int8 kernel; operators that move or compare integers work on uint8 directly.
Activations under 8 bits take an integer Clip after QuantizeLinear: a float Clip before it would
break the fusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import INT32
from sigmaquant.export.onnx.sheet import Sheet, begins_then_ends
from sigmaquant.lowering.arithmetic import add_ratios
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

_CONVOLUTION_DIMENSIONS = (1, 2)
_CHANNEL_BLOCK = 4


def write_integer_operator(sheet: Sheet, operator: Operator) -> None:
    """Append the operator's nodes.

    Raises:
        UnsupportedError: ONNX Runtime cannot run the operator exactly.
    """
    _WRITERS[type(operator)](sheet, operator)


def _quantize(sheet: Sheet, operator: Quantize) -> None:
    source = sheet.tensors[operator.inputs[0]]
    sheet.quantized(source, operator.output, sheet.tensors[operator.output])


def _dequantize(sheet: Sheet, operator: Dequantize) -> None:
    source = operator.inputs[0]
    sheet.dequantized(sheet.tensors[source], source, sheet.tensors[operator.output])


def _convolution(sheet: Sheet, operator: Convolution) -> None:
    dimensions = operator.weights.values.ndim - 2
    if dimensions not in _CONVOLUTION_DIMENSIONS:
        raise UnsupportedError(f"{operator.name}: {dimensions}-d convolution; 1-d and 2-d work")
    if sheet.value(operator.output).encoding is None:
        raise UnsupportedError(f"{operator.name}: a quantized convolution with a float output")
    source, weights = _blocked(sheet, operator)
    scales = sheet.parameters.scales[operator.weights.layer]
    weight = sheet.graph.add("DequantizeLinear", [weights, scales], axis=0)
    real = sheet.graph.add(
        "Conv",
        [source, weight, _bias(sheet, operator)],
        name=operator.name,
        kernel_shape=operator.weights.values.shape[2:],
        strides=operator.stride,
        pads=begins_then_ends(operator.padding),
        dilations=operator.dilation,
        group=operator.groups,
    )
    sheet.quantized(real, operator.output, sheet.tensors[operator.output])


def _blocked(sheet: Sheet, operator: Convolution) -> tuple[str, str]:
    """Real input and int8 weights; fewer than four channels are filled up with zeros.

    ONNX Runtime's fast int8 convolution takes channels in fours. For an image of three it would
    fall back to a slower one: 239 instead of 142 us for 3 to 16 channels, 3x3, on 8 x 32 x 32
    pixels. The weights' zeros are made at load and cost no bytes.
    """
    source, weights = operator.inputs[0], sheet.weights[operator.weights.layer]
    channels, *kernel = operator.weights.values.shape[1:]
    if operator.groups > 1 or channels >= _CHANNEL_BLOCK or math.prod(kernel) == 1:
        return sheet.real(source), weights
    graph, rest = sheet.graph, [0] * len(kernel)
    pads = graph.integers(0, 0, *rest, 0, _CHANNEL_BLOCK - channels, *rest)
    zero_point = graph.constant(np.uint8(sheet.encoding(source).zero_point))
    filled = graph.add("Pad", [sheet.tensors[source], pads, zero_point])
    real = sheet.dequantized(filled, source)
    return real, graph.add("Pad", [weights, pads, graph.constant(np.int8(0))])


def _bias(sheet: Sheet, operator: Convolution | Linear) -> str:
    """The bias at scale input_scale * weight_scales: a product that costs no bytes in the file."""
    graph, parameters = sheet.graph, sheet.parameters
    input_scale = graph.scalar(sheet.encoding(operator.inputs[0]).scale)
    scales = graph.add("Mul", [input_scale, parameters.scales[operator.weights.layer]])
    return graph.add("DequantizeLinear", [parameters.biases[operator.output], scales], axis=0)


def _linear(sheet: Sheet, operator: Linear) -> None:
    """As Gemm, the one form that fuses with a bias and with float output; it takes matrices."""
    graph, source = sheet.graph, operator.inputs[0]
    output, target = sheet.value(operator.output), sheet.tensors[operator.output]
    is_matrix = len(output.shape) == 1
    features, inputs = operator.weights.values.shape
    if is_matrix:
        matrix = sheet.real(source)
    else:
        matrix = sheet.dequantized(sheet.reshaped(sheet.tensors[source], [inputs]), source)
    result = target if is_matrix else None
    is_float = output.encoding is None
    # ONNX Runtime fuses Gemm only where the weights' zero point is written out.
    zero_points = graph.constant(np.zeros(features, np.int8))
    scales = sheet.parameters.scales[operator.weights.layer]
    weight = graph.add(
        "DequantizeLinear", [sheet.weights[operator.weights.layer], scales, zero_points], axis=0
    )
    real = graph.add(
        "Gemm",
        [matrix, weight, _bias(sheet, operator)],
        name=operator.name,
        output=result if is_float else None,
        transB=1,
    )
    rows = real if is_float else sheet.quantized(real, operator.output, result)
    if not is_matrix:
        sheet.reshaped(rows, output.shape, target)


def _matmul(sheet: Sheet, operator: MatMul) -> None:
    inputs = [sheet.real(name) for name in operator.inputs]
    real = sheet.graph.add("MatMul", inputs, name=operator.name)
    sheet.quantized(real, operator.output, sheet.tensors[operator.output])


def _add(sheet: Sheet, operator: Add) -> None:
    left, right = operator.inputs
    add_ratios(
        sheet.encoding(left),
        sheet.encoding(right),
        sheet.encoding(operator.output),
        operator.fraction_bits,
        operator.name,
    )
    real = sheet.graph.add("Add", [sheet.real(left), sheet.real(right)], name=operator.name)
    sheet.quantized(real, operator.output, sheet.tensors[operator.output])


def _global_average(sheet: Sheet, operator: GlobalAverage) -> None:
    source, target = sheet.real(operator.inputs[0]), sheet.tensors[operator.output]
    real = sheet.graph.add("GlobalAveragePool", [source], name=operator.name)
    if operator.keepdim:
        sheet.quantized(real, operator.output, target)
    else:
        pooled = sheet.quantized(real, operator.output, None)
        sheet.reshaped(pooled, sheet.value(operator.output).shape, target)


def _average_pool(sheet: Sheet, operator: AveragePool) -> None:
    """A depthwise convolution with weights of one: exact, where QLinearAveragePool is not."""
    channels = sheet.value(operator.inputs[0]).shape[0]
    ones = sheet.graph.filled([channels, 1, *operator.kernel], np.int8(1))
    scale = sheet.graph.constant(window_scale(operator))
    real = sheet.graph.add(
        "Conv",
        [sheet.real(operator.inputs[0]), sheet.graph.add("DequantizeLinear", [ones, scale])],
        name=operator.name,
        kernel_shape=operator.kernel,
        strides=operator.stride,
        pads=begins_then_ends(operator.padding),
        group=channels,
    )
    sheet.quantized(real, operator.output, sheet.tensors[operator.output])


def _lookup(sheet: Sheet, operator: Lookup) -> None:
    """GatherElements on a vector: four times as fast as Gather on bytes."""
    source, target = operator.inputs[0], operator.output
    missing = sheet.encoding(source).highest + 1 - operator.table.size
    assert missing <= 0, f"{operator.name}: the table lacks {missing} entries"
    vector = sheet.graph.add("Reshape", [sheet.tensors[source], sheet.graph.integers(-1)])
    indices = sheet.graph.add("Cast", [vector], to=INT32)
    table = sheet.graph.constant(operator.table)
    found = sheet.graph.add("GatherElements", [table, indices], name=operator.name)
    sheet.reshaped(found, sheet.value(target).shape, sheet.tensors[target])


def _max_pool(sheet: Sheet, operator: MaxPool) -> None:
    source, output = sheet.value(operator.inputs[0]), sheet.value(operator.output)
    padding = max_pool_padding(operator, source, output)
    for kernel, (begin, end) in zip(operator.kernel, padding, strict=True):
        if max(begin, end) >= kernel:
            raise UnsupportedError(
                f"{operator.name}: max pooling with padding {padding} for kernel "
                f"{operator.kernel}; ONNX Runtime takes padding below the kernel's size"
            )
    _move(
        sheet,
        operator,
        "MaxPool",
        kernel_shape=operator.kernel,
        strides=operator.stride,
        pads=begins_then_ends(padding),
        dilations=operator.dilation,
    )


def _clamp(sheet: Sheet, operator: Clamp) -> None:
    limits = [sheet.graph.constant(np.uint8(limit)) for limit in (operator.low, operator.high)]
    _move(sheet, operator, "Clip", *limits)


def _pad(sheet: Sheet, operator: Pad) -> None:
    encoding = sheet.value(operator.output).encoding
    zero = np.float32(0) if encoding is None else np.uint8(encoding.zero_point)
    pads = sheet.graph.integers(*begins_then_ends([(0, 0), *operator.padding]))
    _move(sheet, operator, "Pad", pads, sheet.graph.constant(zero))


def _concat(sheet: Sheet, operator: Concat) -> None:
    inputs = [sheet.tensors[name] for name in operator.inputs]
    target = sheet.tensors[operator.output]
    sheet.graph.add("Concat", inputs, name=operator.name, output=target, axis=operator.axis + 1)


def _reshape(sheet: Sheet, operator: Reshape) -> None:
    _move(sheet, operator, "Reshape", sheet.graph.integers(-1, *sheet.value(operator.output).shape))


def _permute(sheet: Sheet, operator: Permute) -> None:
    _move(sheet, operator, "Transpose", perm=[0, *(axis + 1 for axis in operator.order)])


def _slice(sheet: Sheet, operator: Slice) -> None:
    axes = tuple(axis + 1 for axis in operator.axes)
    numbers = (operator.starts, operator.stops, axes, operator.steps)
    _move(sheet, operator, "Slice", *(sheet.graph.integers(*several) for several in numbers))


def _move(sheet: Sheet, operator: Operator, kind: str, *parameters: str, **attributes: Any) -> None:
    """One node on the values themselves, integers or floats."""
    inputs = [sheet.tensors[operator.inputs[0]], *parameters]
    target = sheet.tensors[operator.output]
    sheet.graph.add(kind, inputs, name=operator.name, output=target, **attributes)


_WRITERS: dict[type[Operator], Callable[[Sheet, Any], None]] = {
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
}
