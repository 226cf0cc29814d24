"""One writer for each integer operator, on the real numbers that the integers stand for.

What computes is the float operator and a ``Quant`` behind it. What only moves or compares is
written as for any ONNX file: it keeps real numbers on their grid as it keeps integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.floats import write_float_operator
from sigmaquant.export.onnx.graph import INT64
from sigmaquant.export.onnx.integers import write_integer_operator
from sigmaquant.export.onnx.sheet import Sheet, begins_then_ends
from sigmaquant.export.qonnx.functions import function_of
from sigmaquant.export.qonnx.sheet import write_bias, write_rounding
from sigmaquant.lowering.arithmetic import dequantize
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


def write_operator(sheet: Sheet, operator: Operator) -> None:
    """Append the operator's nodes.

    Raises:
        UnsupportedError: the operator cannot be expressed.
    """
    _WRITERS[type(operator)](sheet, operator)


def _quantize(sheet: Sheet, operator: Quantize) -> None:
    write_rounding(sheet, sheet.tensors[operator.inputs[0]], operator.output)


def _dequantize(sheet: Sheet, operator: Dequantize) -> None:
    source, target = sheet.tensors[operator.inputs[0]], sheet.tensors[operator.output]
    if source != target:
        sheet.graph.add("Identity", [source], name=operator.name, output=target)


def _convolution(sheet: Sheet, operator: Convolution) -> None:
    weights = operator.weights
    _computed(
        sheet,
        operator,
        "Conv",
        [sheet.weights[weights.layer], write_bias(sheet, operator)],
        kernel_shape=weights.values.shape[2:],
        strides=operator.stride,
        pads=begins_then_ends(operator.padding),
        dilations=operator.dilation,
        group=operator.groups,
    )


def _linear(sheet: Sheet, operator: Linear) -> None:
    """As Gemm, which takes matrices; a float result is not rounded."""
    graph, source = sheet.graph, sheet.tensors[operator.inputs[0]]
    output, target = sheet.value(operator.output), sheet.tensors[operator.output]
    weight = sheet.weights[operator.weights.layer]
    matrix = len(output.shape) == 1
    if not matrix:
        source = sheet.reshaped(source, [operator.weights.values.shape[1]])
    inputs = [source, weight, write_bias(sheet, operator)]
    rows = target if matrix else None
    if output.encoding is None:
        real = graph.add("Gemm", inputs, name=operator.name, output=rows, transB=1)
    else:
        product = graph.add("Gemm", inputs, name=operator.name, transB=1)
        real = write_rounding(sheet, product, operator.output, rows or graph.fresh())
    if not matrix:
        sheet.reshaped(real, output.shape, target)


def _add(sheet: Sheet, operator: Add) -> None:
    _computed(sheet, operator, "Add", [sheet.tensors[operator.inputs[1]]])


def _matmul(sheet: Sheet, operator: MatMul) -> None:
    _computed(sheet, operator, "MatMul", [sheet.tensors[operator.inputs[1]]])


def _global_average(sheet: Sheet, operator: GlobalAverage) -> None:
    if operator.keepdim:
        _computed(sheet, operator, "GlobalAveragePool", [])
        return
    source = sheet.tensors[operator.inputs[0]]
    real = sheet.graph.add("GlobalAveragePool", [source], name=operator.name)
    pooled = write_rounding(sheet, real, operator.output, sheet.graph.fresh())
    shape = sheet.value(operator.output).shape
    sheet.reshaped(pooled, shape, sheet.tensors[operator.output])


def _average_pool(sheet: Sheet, operator: AveragePool) -> None:
    for kernel, sides in zip(operator.kernel, operator.padding, strict=True):
        if max(sides) >= kernel:
            raise UnsupportedError(
                f"{operator.name}: average pooling with padding {operator.padding} for kernel "
                f"{operator.kernel}; ONNX Runtime takes padding below the kernel's size"
            )
    _computed(
        sheet,
        operator,
        "AveragePool",
        [],
        kernel_shape=operator.kernel,
        strides=operator.stride,
        pads=begins_then_ends(operator.padding),
        count_include_pad=1,
    )


def _computed(
    sheet: Sheet, operator: Operator, kind: str, parameters: list[str], **attributes: Any
) -> None:
    """One node on the first input, and the rounding of its result."""
    inputs = [sheet.tensors[operator.inputs[0]], *parameters]
    real = sheet.graph.add(kind, inputs, name=operator.name, **attributes)
    write_rounding(sheet, real, operator.output)


def _lookup(sheet: Sheet, operator: Lookup) -> None:
    """The function that the table stands for; where none is known, the table itself."""
    source, output = sheet.encoding(operator.inputs[0]), sheet.encoding(operator.output)
    function = function_of(operator, source, output)
    real = sheet.graph.fresh()
    if function is None:
        _look_up(sheet, operator, real)
    else:
        written = replace(sheet, tensors={**sheet.tensors, operator.output: real})
        write_float_operator(written, function)
    write_rounding(sheet, real, operator.output)


def _look_up(sheet: Sheet, operator: Lookup, target: str) -> None:
    """Real numbers to their integers, and these to the table's entries as real numbers."""
    graph, source = sheet.graph, sheet.encoding(operator.inputs[0])
    given = sheet.tensors[operator.inputs[0]]
    steps = graph.add("Div", [given, graph.scalar(source.scale)])
    shifted = graph.add("Add", [steps, graph.scalar(source.zero_point)])
    indices = graph.add("Cast", [graph.add("Round", [shifted])], to=INT64)
    table = graph.constant(dequantize(operator.table, sheet.encoding(operator.output)))
    graph.add("Gather", [table, indices], name=operator.name, output=target)


def _clamp(sheet: Sheet, operator: Clamp) -> None:
    """A Relu where the limits say no more than that."""
    encoding = sheet.encoding(operator.output)
    limits = dequantize(np.array([operator.low, operator.high], np.uint8), encoding)
    source, target = sheet.tensors[operator.inputs[0]], sheet.tensors[operator.output]
    is_relu = operator.low == encoding.zero_point and operator.high == encoding.highest
    parameters = [] if is_relu else [sheet.graph.constant(limit) for limit in limits]
    kind = "Relu" if is_relu else "Clip"
    sheet.graph.add(kind, [source, *parameters], name=operator.name, output=target)


def _pad(sheet: Sheet, operator: Pad) -> None:
    """Behind an 8-bit integer's zero point stands the real zero that Pad fills in by default."""
    pads = sheet.graph.integers(*begins_then_ends([(0, 0), *operator.padding]))
    source, target = sheet.tensors[operator.inputs[0]], sheet.tensors[operator.output]
    sheet.graph.add("Pad", [source, pads], name=operator.name, output=target)


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
    Clamp: _clamp,
    Pad: _pad,
    **dict.fromkeys((MaxPool, Concat, Reshape, Permute, Slice), write_integer_operator),
}
