"""Scales and biases of layers in half the bytes, for files whose bytes count most.

Networks of many channels hold more of them than one would think: with weights in code they are 7 %
of MobileNetV2 at an eighth of its size. Eleven significant bits, those of a 16-bit float, move a
scale by at most 1/2048 of itself; a weight of 8 bits is off by up to 1/254 of the largest.

The program with coarser parameters is again one truth: the file is written from it, and the
reference runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import (
    Convolution,
    Float32Array,
    Int32Array,
    IntegerProgram,
    Linear,
    Operator,
    Weights,
)

_SIGNIFICANT_BITS = 11

Float64Array = npt.NDArray[np.float64]


def with_half_precision(program: IntegerProgram) -> IntegerProgram:
    """The program with scales of weights and biases of 11 significant bits.

    Channels whose weights are all zero have no use for a scale; they get the largest of the
    others in their layer, so that no layer's are too far apart for 16 bits.
    """
    coarser = {layer.layer: replace(layer, scales=_scales(layer)) for layer in program.weights}

    def converted(operator: Operator) -> Operator:
        if not isinstance(operator, Convolution | Linear):
            return operator
        encoding = program.values[operator.inputs[0]].encoding
        assert encoding is not None
        weights = coarser[operator.weights.layer]
        bias = _bias(operator, weights, max(encoding.zero_point, encoding.highest))
        return replace(operator, weights=weights, bias=bias)

    return replace(program, operators=tuple(map(converted, program.operators)))


def _scales(layer: Weights) -> Float32Array:
    used = layer.values.reshape(len(layer.scales), -1).any(1)
    largest = layer.scales[used].max(initial=0) or layer.scales.max()
    return _rounded(np.where(used, layer.scales, largest)).astype(np.float32)


def _bias(operator: Convolution | Linear, weights: Weights, furthest: int) -> Int32Array:
    """The operator's bias at its weights' new scales; accumulators stay within int32."""
    moved = operator.bias * operator.weights.scales.astype(np.float64) / weights.scales
    magnitudes = np.abs(weights.values.astype(np.int64)).reshape(len(moved), -1).sum(1)
    room = _rounded(np.iinfo(np.int32).max - magnitudes * furthest, np.floor)
    return np.clip(_rounded(np.rint(moved)), -room, room).astype(np.int32)


def _rounded(numbers: npt.NDArray[Any], how: Callable[..., Any] = np.rint) -> Float64Array:
    """To 11 significant bits; integers stay integers."""
    mantissas, exponents = np.frexp(numbers.astype(np.float64))
    whole = how(np.ldexp(mantissas, _SIGNIFICANT_BITS))
    rounded: Float64Array = np.ldexp(whole, exponents - _SIGNIFICANT_BITS)
    return rounded
