"""How far each kernel of LiteRT may be from the integer reference.

The reference rounds each result once, half to even. Measured with ai-edge-litert 2.3.0 on 450
random networks (as in ``tests/export/test_tflite_fuzz.py``), in steps of the output:

================================================= ================= =================
operators                                         XNNPACK           built-in kernels
================================================= ================= =================
moves, comparisons, tables                        0                 0
convolution, linear; int8 weights                 0                 1 in 1 to 5 %
linear and 1 x 1; int4, int2, rows of whole bytes 0                 1 in 5 to 7 %
the same, other rows                              1 (built-in)      1 in 4 to 10 %
convolution, depthwise; int4 weights              1 (built-in)      1 in 5 to 11 %
average pool as a depthwise convolution           0                 1 in 7 %
global average, average pool as MEAN              1 in 0.01 %       1 in 9 %
addition                                          1 in 0.003 %      1 in 0.003 %
product of two activations                        1 (built-in)      1
quantize                                          0 (1 allowed)     0 (1 allowed)
================================================= ================= =================

The built-in kernels multiply by a 32-bit fixed-point number and round twice. XNNPACK multiplies
layers' sums in float32 and rounds half to even, as the reference does; its averages take another
order of the same product, and its sums round ties up. No kernel was ever more than one step away,
so that any larger difference is a fault.
"""

from __future__ import annotations

import numpy as np

from sigmaquant.export.tflite.options import Storage
from sigmaquant.export.tflite.runtime import Kernels
from sigmaquant.export.tflite.storage import is_matrix, stored_bits
from sigmaquant.lowering.program import (
    Add,
    AveragePool,
    Convolution,
    Float32Array,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Linear,
    MatMul,
    Operator,
    Quantize,
)

DEQUANTIZE_TOLERANCE_STEPS = 1e-4
"""Largest difference of a dequantized value: scale * q - scale * zero_point in float32 is off by
2^-24 of up to 255 steps twice, 3e-5 steps."""
FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float operator, relative to its largest value."""

_COMPUTING = (Add, AveragePool, Convolution, GlobalAverage, Linear, MatMul, Quantize)
_BYTE = 8


def tolerance_steps(operator: Operator, kernels: Kernels, variant: Storage) -> int:
    """How many steps of its output an integer operator may be from the reference."""
    if not isinstance(operator, _COMPUTING):
        return 0
    exact = (
        kernels == "XNNPACK"
        and isinstance(operator, Convolution | Linear)
        and _runs_in_xnnpack(operator, variant)
    )
    return 0 if exact else 1


def tolerance_float(operator: Operator, program: IntegerProgram, expected: Float32Array) -> float:
    """How far a float result may be from the reference, in its own unit."""
    encoding = program.values[operator.inputs[0]].encoding
    if encoding is not None:
        return DEQUANTIZE_TOLERANCE_STEPS * encoding.scale
    if isinstance(operator, FloatOperator):
        return FLOAT_TOLERANCE * float(np.abs(expected).max())
    return 0.0


def _runs_in_xnnpack(operator: Convolution | Linear, variant: Storage) -> bool:
    """XNNPACK takes int8 weights, and packed matrices whose rows are whole bytes."""
    matrix = isinstance(operator, Linear) or is_matrix(operator)
    bits = stored_bits(operator.weights, variant, matrix=matrix)
    row_bits = bits * operator.weights.values[0].size
    return bits == _BYTE or (matrix and row_bits % _BYTE == 0)
