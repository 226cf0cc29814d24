"""float32 multipliers of a requantization as the words that the kernels take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import Float32Array

_MANTISSA_BITS = 24
_LEAST_SHIFT, _MOST_SHIFT = -31, 96  # beyond them results exceed every encoding, or are 0
_REGULAR_SHIFTS = 1, 13
_NEAR_REACH = 2**22
_MOST_NEAR_SHIFT = 31
_BEYOND = 2**31  # what no accumulator reaches
_MOST_LIFT = 31
_NO_LIFT = -1


@dataclass(frozen=True)
class Multipliers:
    """Multipliers of the rows of a layer; see ``sq_matrix``.

    Attributes:
        words: one a row.
        lift: bits by which accumulators are shifted for the fast requantization, negative where
            none gives its results; see ``sq_range``.
    """

    words: npt.NDArray[np.uint32]
    lift: int


def multipliers_of(values: Float32Array, reach: npt.NDArray[np.int64]) -> Multipliers:
    """Split each multiplier into M * 2^(-24 - shift), with a mantissa M of 24 bits.

    Shifts are limited, which changes no result: those of larger ones are beyond every encoding,
    those of smaller ones round to 0. A lift moves all of them to where the requantization is fast.

    Args:
        values: (rows,), not negative.
        reach: (rows,) magnitude that no accumulator exceeds.

    >>> found = multipliers_of(np.float32([0.25, 0.0]), np.array([100, 100]))
    >>> [hex(word) for word in found.words], found.lift
    (['0x80000001', '0x8000001f'], 0)
    >>> multipliers_of(np.float32([0.25, 1.5]), np.array([100, 100])).lift
    2
    """
    mantissas, exponents = np.frexp(values.astype(np.float64))
    assert np.all(np.isfinite(mantissas) & (mantissas >= 0)), "multipliers are not negative"
    shifts = np.where(mantissas == 0, _MOST_SHIFT, -exponents.astype(np.int64))
    lift = max(0, _REGULAR_SHIFTS[0] - int(shifts.min()))
    if lift <= _MOST_LIFT and int(reach.max()) << lift < _BEYOND:
        words, regular = _words(mantissas, shifts + lift, reach << lift)
        if regular:
            return Multipliers(words, lift)
    return Multipliers(_words(mantissas, shifts, reach)[0], _NO_LIFT)


def _words(
    mantissas: npt.NDArray[np.float64],
    shifts: npt.NDArray[np.int64],
    reach: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.uint32], bool]:
    """The words, and whether all are as the fast requantization needs them."""
    zero = mantissas == 0
    near = reach <= _NEAR_REACH
    most = np.where(near, _MOST_NEAR_SHIFT, _MOST_SHIFT)
    shifts = np.where(zero, most, np.clip(shifts, _LEAST_SHIFT, most))
    least_regular, most_regular = _REGULAR_SHIFTS
    regular = (shifts >= least_regular) & ((shifts <= most_regular) | near)
    scaled = np.where(zero, 0.5, mantissas) * 2.0**_MANTISSA_BITS
    words = scaled.astype(np.uint32) << np.uint32(8) | (shifts & 0xFF).astype(np.uint32)
    return words, bool(regular.all())
