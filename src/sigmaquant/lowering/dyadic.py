"""Scales of summands made exact multiples of the sum's scale.

A runtime adds two quantized tensors as q_c = round(q_a s_a/s_c + q_b s_b/s_c + ...) in float32,
with or without fused multiply-add. If both ratios are short dyadic fractions R / 2^f, every
product and sum is exact in float32, so that the order of operations cannot matter and the result
is an integer formula. Moving a scale onto such a ratio changes the ratio by about 2^-f at most: a
fraction of the sum's own step, and far less than any calibration is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from sigmaquant.errors import UnsupportedError

_MANTISSA_BITS = 24
_MOST_FRACTION_BITS = 14
_LARGEST_RATIO = 2.0**13


def dyadic_scales(
    scales: Mapping[str, float], sums: Iterable[tuple[str, str]]
) -> tuple[dict[str, float], dict[str, int]]:
    """Move the scales of summands so that float32(s_a) / float32(s_c) = R / 2^f exactly.

    Args:
        scales: by precision group; float32 values.
        sums: (summand's group, sum's group) where they differ. A group is a summand of one other
            group at most, and never in a circle: ``network.encodings`` sees to that.

    Returns:
        The new scales, and f by the sum's group.

    Raises:
        UnsupportedError: a sum is so small beside its summands that float32 cannot hold both.
    """
    above = dict(sums)
    largest: dict[str, float] = {}
    for summand, total in above.items():
        largest[total] = max(largest.get(total, 1.0), scales[summand] / scales[total])
    fraction_bits = {total: _fraction_bits(total, ratio) for total, ratio in largest.items()}
    done = {group: scale for group, scale in scales.items() if group not in above}

    def settle(group: str) -> float:
        if group not in done:
            total = above[group]
            done[group] = _nearest_dyadic(scales[group], settle(total), fraction_bits[total])
        return done[group]

    return {group: settle(group) for group in scales}, fraction_bits


def _fraction_bits(group: str, largest_ratio: float) -> int:
    """The most fraction bits with which a sum of two 8-bit values stays exact in float32.

    The largest intermediate holds the sum's zero point and, of both summands, 255 R for the
    integer and 255 R for the zero point.
    """
    if largest_ratio > _LARGEST_RATIO:
        raise UnsupportedError(
            f"the sum at {group} is {largest_ratio:.3g} times finer than one of its summands, so "
            "that they cancel to nothing; calibrate with data on which they don't, or keep the sum "
            "out of the network"
        )
    magnitude = 255 * (1 + 4 * largest_ratio)
    return min(_MOST_FRACTION_BITS, _MANTISSA_BITS - int(np.ceil(np.log2(magnitude))))


def _nearest_dyadic(scale: float, base: float, fraction_bits: int) -> float:
    """The float32 nearest to ``scale`` whose float32 quotient by ``base`` is R / 2^f."""
    unit = np.float32(2.0**-fraction_bits)
    wanted = max(1, round(scale / base / float(unit)))
    # Rounding to float32 can miss the quotient by one place; a neighbouring R then fits.
    for offset in sorted(range(-wanted + 1, wanted + 64), key=abs)[:256]:
        ratio = np.float32(wanted + offset) * unit
        candidate = ratio * np.float32(base)
        if candidate / np.float32(base) == ratio:
            return float(candidate)
    raise AssertionError(f"no exact multiple of {base} near {scale}")
