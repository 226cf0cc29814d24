"""What the writers of a QONNX file share: real numbers as tensors, and ``Quant`` nodes.

``Quant(x, scale, zero_point, bits)`` is ``(round(clamp(x / scale + zero_point)) - zero_point) *
scale`` in float32, rounding half to even (docs/qonnx-custom-ops/quant_op.md of
github.com/fastmachinelearning/qonnx).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import GraphBuilder
from sigmaquant.export.onnx.sheet import Sheet
from sigmaquant.lowering.arithmetic import EXACT_FLOAT32_INTEGERS, accumulator_scale
from sigmaquant.lowering.program import (
    Convolution,
    Dequantize,
    Float32Array,
    IntegerProgram,
    Linear,
    Weights,
)

DOMAIN = "qonnx.custom_op.general"
DOMAIN_VERSION = 1
QUANT = "Quant"

_BIAS_BITS = 32


def real_tensors(program: IntegerProgram) -> dict[str, str]:
    """The tensor that holds each value as real numbers.

    What is dequantized is in the file the very tensor that was quantized, named as the output
    where it is one.
    """
    tensors = {name: name for name in program.values}
    dequantized = [op for op in program.operators if isinstance(op, Dequantize)]
    for operator in dequantized:
        (source,) = operator.inputs
        if operator.output in program.outputs and tensors[source] == source:
            tensors[source] = operator.output
    for operator in dequantized:
        if operator.output not in program.outputs:
            tensors[operator.output] = tensors[operator.inputs[0]]
    return tensors


def write_quant(
    graph: GraphBuilder,
    source: str,
    scale: npt.ArrayLike,
    zero_point: int,
    bits: int,
    *,
    signed: bool,
    output: str | None = None,
) -> str:
    """Append a ``Quant`` node; ``scale`` broadcasts against the source."""
    numbers = (np.asarray(number, np.float32) for number in (scale, zero_point, bits))
    return graph.add(
        QUANT,
        [source, *(graph.constant(number) for number in numbers)],
        output=output,
        domain=DOMAIN,
        signed=int(signed),
        narrow=0,
        rounding_mode="ROUND",
    )


def write_weights(graph: GraphBuilder, program: IntegerProgram) -> Mapping[str, str]:
    """A tensor of real weights for each layer, behind its ``Quant``."""
    return {layer.layer: _write_weights(graph, layer) for layer in program.weights}


def _write_weights(graph: GraphBuilder, weights: Weights) -> str:
    scales = weights.scales.reshape(-1, *(1,) * (weights.values.ndim - 1))
    real = graph.parameter(weight_name(weights), weights.values.astype(np.float32) * scales)
    return write_quant(graph, real, scales, 0, weights.bits, signed=True)


def write_bias(sheet: Sheet, operator: Convolution | Linear) -> str:
    """The bias as real numbers behind a ``Quant`` of 32 bits at input scale times weight scales.

    Raises:
        UnsupportedError: a bias is beyond the integers that float32 holds.
    """
    largest = int(np.abs(operator.bias.astype(np.int64)).max(initial=0))
    if largest > EXACT_FLOAT32_INTEGERS:
        raise UnsupportedError(
            f"{operator.name}: a bias of {largest} steps; float32, in which these files hold "
            f"integers, is exact up to {EXACT_FLOAT32_INTEGERS}"
        )
    scales = bias_scales(sheet, operator)
    real = sheet.graph.parameter(bias_name(operator), operator.bias.astype(np.float32) * scales)
    return write_quant(sheet.graph, real, scales, 0, _BIAS_BITS, signed=True)


def weight_name(weights: Weights) -> str:
    """The constant that holds a layer's weights as real numbers."""
    return f"{weights.layer}.weight"


def bias_name(operator: Convolution | Linear) -> str:
    """The constant that holds a bias; by its result, because a layer may be used repeatedly."""
    return f"{operator.output}.bias"


def bias_scales(sheet: Sheet, operator: Convolution | Linear) -> Float32Array:
    """What one step of each bias stands for: (out,)."""
    input_scale = sheet.encoding(operator.inputs[0]).scale
    return accumulator_scale(input_scale, operator.weights.scales)


def write_rounding(sheet: Sheet, real: str, value: str, output: str | None = None) -> str:
    """Round real numbers to the encoding of a value; by default into the value's own tensor."""
    encoding = sheet.encoding(value)
    return write_quant(
        sheet.graph,
        real,
        encoding.scale,
        encoding.zero_point,
        encoding.bits,
        signed=False,
        output=output or sheet.tensors[value],
    )
