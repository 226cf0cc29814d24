"""Convolutions and linear layers: the operators that have weights."""

from __future__ import annotations

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.tflite.flatfile import Quantization
from sigmaquant.export.tflite.layout import Layout, channels_last, plain
from sigmaquant.export.tflite.sheet import Sheet, ValueTable
from sigmaquant.export.tflite.storage import is_matrix, is_worth_a_table, stored_bits
from sigmaquant.export.tflite.windows import Window, padded
from sigmaquant.lowering.arithmetic import accumulator_scale
from sigmaquant.lowering.program import Convolution, Int8Array, Linear

_DIMENSIONS = (1, 2)
_PLAIN_BITS = 8
LOWEST_WEIGHT = -127
"""Of 8 bits: kernels for ARM add two products in int16, which -128 * -128 twice would overflow."""


def write_convolution(sheet: Sheet, operator: Convolution) -> None:
    """CONV_2D, DEPTHWISE_CONV_2D or, for a packed matrix, FULLY_CONNECTED over all pixels."""
    weights = operator.weights
    dimensions = weights.values.ndim - 2
    if dimensions not in _DIMENSIONS:
        raise UnsupportedError(f"{operator.name}: {dimensions}-d convolution; 1-d and 2-d work")
    if sheet.value(operator.output).encoding is None:
        raise UnsupportedError(f"{operator.name}: a quantized convolution with a float output")
    layout = channels_last(1 + dimensions)
    # TensorFlow Lite Micro has int4 kernels for windows and none for matrices.
    matrix = is_matrix(operator) and sheet.options.variant != "micro"
    bits = stored_bits(weights, sheet.options.variant, matrix=matrix)
    if matrix and bits < _PLAIN_BITS:
        values = weights.values.reshape(len(weights.values), -1)
        _fully_connected(sheet, operator, values, bits, layout)
    else:
        _convolution(sheet, operator, bits, layout)


def _convolution(sheet: Sheet, operator: Convolution, bits: int, layout: Layout) -> None:
    window = Window.over(
        operator.weights.values.shape[2:], operator.stride, operator.padding, operator.dilation
    )
    given = padded(sheet, operator, window, layout)
    filters = _as_images(operator.weights.values)
    channels = sheet.value(operator.inputs[0]).shape[0]
    options = {
        "padding": given.mode,
        **window.strides,
        "dilationHFactor": window.dilation[0],
        "dilationWFactor": window.dilation[1],
    }
    if operator.groups == channels > 1:
        kind, axis, filters = "DEPTHWISE_CONV_2D", 3, filters.transpose(3, 1, 2, 0)
        options["depthMultiplier"] = len(operator.weights.values) // channels
    else:
        kind, axis = "CONV_2D", 0
    parameters = _parameters(sheet, operator, filters, bits, axis)
    sheet.computed(kind, [given.tensor, *parameters], operator.output, layout, **options)


def _as_images(values: Int8Array) -> Int8Array:
    """(out, in/groups, *kernel) to (out, rows, columns, in/groups)."""
    images = values[:, :, None] if values.ndim == 3 else values
    return images.transpose(0, 2, 3, 1)


def write_linear(sheet: Sheet, operator: Linear) -> None:
    """FULLY_CONNECTED over the last dimension."""
    source = operator.inputs[0]
    if sheet.value(operator.output).encoding is None:
        raise UnsupportedError(
            f"{operator.name}: a quantized layer with a float output; TensorFlow Lite needs its "
            "range (see export.heads)"
        )
    layout, rank = sheet.layout(source), len(sheet.value(source).shape)
    if layout.axes[-1] != rank - 1:
        layout = plain(rank)
    bits = stored_bits(operator.weights, sheet.options.variant, matrix=True)
    _fully_connected(sheet, operator, operator.weights.values, bits, layout)


def _fully_connected(
    sheet: Sheet, operator: Convolution | Linear, values: Int8Array, bits: int, layout: Layout
) -> None:
    parameters = _parameters(sheet, operator, values, bits, axis=0)
    inputs = [sheet.tensor(operator.inputs[0], layout), *parameters]
    keep = len(layout.axes) > 1
    sheet.computed("FULLY_CONNECTED", inputs, operator.output, layout, keepNumDims=keep)


def _parameters(
    sheet: Sheet, operator: Convolution | Linear, values: Int8Array, bits: int, axis: int
) -> tuple[int, int]:
    """Weights and bias as tensors.

    The bias carries its scales too, although they are products: without them XNNPACK leaves the
    layer to the built-in kernels.
    """
    if values.min() < LOWEST_WEIGHT:
        raise UnsupportedError(
            f"{operator.name}: a weight of {values.min()}; TensorFlow Lite's kernels take "
            f"{LOWEST_WEIGHT} to 127: quantize the network anew, which keeps to that"
        )
    scales = operator.weights.scales
    real = Quantization(tuple(scales.tolist()), axis=axis)
    sums = accumulator_scale(sheet.encoding(operator.inputs[0]).scale, scales)
    in_table = is_worth_a_table(
        operator.weights, sheet.options.variant, matrix=isinstance(operator, Linear)
    )
    stored = _PLAIN_BITS if in_table else bits
    weights = sheet.graph.weights(np.ascontiguousarray(values), stored, real)
    if in_table:
        sheet.tables[weights] = ValueTable(operator.weights.bits, axis)
    bias = sheet.graph.constant(operator.bias, Quantization(tuple(sums.tolist())))
    return weights, bias
