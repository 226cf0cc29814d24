"""Scales of summands made exact multiples of the sum's scale.

A runtime adds two quantized tensors as q_c = round(q_a s_a/s_c + q_b s_b/s_c + ...) in float32,
with or without fused multiply-add. If both ratios are short dyadic fractions R / 2^f, every
product and sum is exact in float32, so that the order of operations cannot matter and the result
is an integer formula. Moving a scale onto such a ratio changes the ratio by a few 2^-f at most: a
fraction of the sum's own step, and far less than any calibration is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from sigmaquant.errors import UnsupportedError

_MANTISSA_BITS = 24
_MOST_FRACTION_BITS = 14
_LARGEST_RATIO = 2.0**13
_NEARBY = 8  # numerators, and float32 values, to either side


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
    summands: dict[str, list[str]] = {}
    for summand, total in above.items():
        summands.setdefault(total, []).append(summand)
    fraction_bits = {
        total: _fraction_bits(total, max(scales[group] for group in below) / scales[total])
        for total, below in summands.items()
    }

    def settle(group: str, scale: float) -> dict[str, float] | None:
        """The group at this scale and all groups below it, or None where one finds no multiple."""
        settled = {group: scale}
        for summand in summands.get(group, ()):
            multiples = _exact_multiples(scales[summand], scale, fraction_bits[group])
            below = next(filter(None, (settle(summand, m) for m in multiples)), None)
            if below is None:
                return None
            settled |= below
        return settled

    found: dict[str, float] = {}
    for root in (group for group in scales if group not in above):
        tried = (settle(root, scale) for scale in _neighbours(scales[root]))
        settled = next(filter(None, tried), None)
        assert settled is not None, f"no exact multiples of {scales[root]} for {root}"
        found |= settled
    return {group: found[group] for group in scales}, fraction_bits


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
    magnitude = 255 * (1 + 4 * max(1.0, largest_ratio))
    return min(_MOST_FRACTION_BITS, _MANTISSA_BITS - int(np.ceil(np.log2(magnitude))))


def _exact_multiples(scale: float, base: float, fraction_bits: int) -> Iterator[float]:
    """The float32 near ``scale`` whose float32 quotient by ``base`` is R / 2^f, nearest first.

    Rounding to float32 misses the quotient for one R in ten, and for some bases for many in a row.
    """
    unit = np.float32(2.0**-fraction_bits)
    wanted = max(1, round(scale / base / float(unit)))
    for numerator in sorted(
        range(max(1, wanted - _NEARBY), wanted + _NEARBY + 1), key=lambda r: abs(r - wanted)
    ):
        ratio = np.float32(numerator) * unit
        multiple = ratio * np.float32(base)
        if multiple / np.float32(base) == ratio:
            yield float(multiple)


def _neighbours(scale: float) -> Iterator[float]:
    """The scale and the float32 next to it, alternately above and below."""
    below = above = np.float32(scale)
    yield scale
    for _ in range(_NEARBY):
        below, above = np.nextafter(below, np.float32(0)), np.nextafter(above, np.float32(np.inf))
        yield from (float(above), float(below))
