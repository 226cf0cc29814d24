"""The arithmetic of the integer record, bit for bit that of ONNX Runtime's int8 kernels.

All kernels accumulate in int32 and requantize once, in float32:
``clamp(rint(float32(accumulator) * multiplier) + zero_point)``. The multiplier is itself computed
in float32, and the order of its operations decides values that lie near a tie. The orders below
are those of onnxruntime's sources, each confirmed with version 1.32 on 1,500 to 16,000 accumulators
chosen where other orders round differently:

- ``QLinearConv`` (core/providers/cpu/quantization/qlinearconv.cc, ComputeOutputScale):
  ``(x_scale * w_scale) / y_scale``.
- ``QLinearMatMul`` (core/providers/cpu/quantization/quantize_linear_matmul.cc): the same, with the
  second input's scale for the weights'.
- ``QGemm`` (contrib_ops/cpu/quantization/quant_gemm.cc): the same; without an output scale
  ``float32(accumulator) * (x_scale * w_scale)``.
- ``QLinearGlobalAveragePool`` (core/mlas/lib/qlgavgpool.cpp): ``x_scale / (y_scale * count)``.
- ``QLinearAdd`` (core/mlas/lib/qladd.cpp): sums ``ratio * q`` and the zero points in float32 and
  rounds once. With dyadic ratios every partial sum is exact, so integers give the same result; the
  output's zero point is inside the rounding, which shows at ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import DataError, UnsupportedError
from sigmaquant.lowering.program import Encoding, Float32Array, UInt8Array

Int64Array = npt.NDArray[np.int64]

EXACT_FLOAT32_INTEGERS = 2**24
"""float32 holds every integer up to here, so a sum within it has no rounding."""


def quantize(values: Float32Array, encoding: Encoding, place: str) -> UInt8Array:
    """``clamp(rint(values / scale) + zero_point)`` (core/mlas/lib/quantize.cpp).

    Raises:
        DataError: ``values`` hold NaN, which has no integer; ``place`` names where.
    """
    if np.isnan(values).any():
        raise DataError(f"{place}: NaN cannot be quantized")
    with np.errstate(over="ignore"):
        rounded = np.rint(values / np.float32(encoding.scale))
    return _clamped(rounded.astype(np.float64) + encoding.zero_point, encoding)


def dequantize(integers: UInt8Array, encoding: Encoding) -> Float32Array:
    """``scale * (q - zero_point)`` in float32."""
    return centered(integers, encoding).astype(np.float32) * np.float32(encoding.scale)


def centered(integers: UInt8Array, encoding: Encoding) -> npt.NDArray[np.int32]:
    """``q - zero_point``: the integers that stand for real numbers by scale alone."""
    return integers.astype(np.int32) - np.int32(encoding.zero_point)


def requantize(accumulator: Int64Array, multiplier: Float32Array, encoding: Encoding) -> UInt8Array:
    """Accumulators to the output's integers; ``multiplier`` broadcasts against ``accumulator``."""
    scaled = accumulator.astype(np.float32) * multiplier
    return _clamped(np.rint(scaled).astype(np.float64) + encoding.zero_point, encoding)


def accumulator_scale(input_scale: float, weight_scales: Float32Array) -> Float32Array:
    """What one unit of an accumulator stands for: (out,)."""
    return np.float32(input_scale) * weight_scales


def layer_multiplier(
    input_scale: float, weight_scales: Float32Array, output_scale: float
) -> Float32Array:
    """Of ``QLinearConv`` and ``QGemm``: (out,); of ``QLinearMatMul``, from one scale: ()."""
    return accumulator_scale(input_scale, weight_scales) / np.float32(output_scale)


def average_multiplier(input_scale: float, output_scale: float, count: int) -> Float32Array:
    """Of ``QLinearGlobalAveragePool`` over ``count`` values: a scalar array."""
    divisor = np.float32(output_scale) * np.float32(count)
    return np.asarray(np.float32(input_scale) / divisor, np.float32)


def add_ratios(
    left: Encoding, right: Encoding, output: Encoding, fraction_bits: int, place: str
) -> tuple[int, int]:
    """``input scale / output scale`` of both inputs of an addition, times 2^fraction_bits.

    Raises:
        UnsupportedError: a ratio is not a multiple of 2^-fraction_bits in float32, or a partial
            sum could need more than the 24 bits that float32 holds exactly.
    """
    one = 1 << fraction_bits
    ratios = []
    for encoding in (left, right):
        ratio = float(np.float32(encoding.scale) / np.float32(output.scale)) * one
        if ratio != int(ratio):
            raise UnsupportedError(
                f"{place}: the scale ratio {encoding.scale!r} / {output.scale!r} is not a multiple "
                f"of 2^-{fraction_bits}; a float32 runtime would not compute the integer sum"
            )
        ratios.append(int(ratio))
    largest = ratios[0] * left.highest + ratios[1] * right.highest + one * output.highest
    if largest > EXACT_FLOAT32_INTEGERS:
        raise UnsupportedError(
            f"{place}: scale ratios of {ratios[0] / one:.3g} and {ratios[1] / one:.3g} with "
            f"{fraction_bits} fraction bits do not fit the 24 exact bits of float32; "
            f"use fewer fraction bits"
        )
    return ratios[0], ratios[1]


def add(
    left: Int64Array,
    right: Int64Array,
    ratios: tuple[int, int],
    fraction_bits: int,
    encoding: Encoding,
) -> UInt8Array:
    """Sum of centered integers at the output's scale, rounded half to even once."""
    total = left * ratios[0] + right * ratios[1] + (encoding.zero_point << fraction_bits)
    return _clamped(_shift_half_even(total, fraction_bits), encoding)


def _shift_half_even(values: Int64Array, bits: int) -> Int64Array:
    """``values / 2^bits``, rounded half to even."""
    if bits == 0:
        return values
    quotient = values >> bits
    rest = values - (quotient << bits)
    half = 1 << (bits - 1)
    up = (rest > half) | ((rest == half) & (quotient & 1 == 1))
    rounded: Int64Array = quotient + up
    return rounded


def _clamped(values: npt.NDArray[Any], encoding: Encoding) -> UInt8Array:
    integers: UInt8Array = np.clip(values, 0, encoding.highest).astype(np.uint8)
    return integers
