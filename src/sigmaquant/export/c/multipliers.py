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


@dataclass(frozen=True)
class Multipliers:
    """Multipliers of the rows of a layer; see ``sq_matrix``.

    Attributes:
        words: one a row.
        regular: whether the fast requantization gives their results; see ``sq_range``.
    """

    words: npt.NDArray[np.uint32]
    regular: bool


def multipliers_of(values: Float32Array, reach: npt.NDArray[np.int64]) -> Multipliers:
    """Split each multiplier into M * 2^(-24 - shift), with a mantissa M of 24 bits.

    Shifts are limited, which changes no result: those of larger ones are beyond every encoding,
    those of smaller ones round to 0.

    Args:
        values: (rows,), not negative.
        reach: (rows,) magnitude that no accumulator exceeds.

    >>> found = multipliers_of(np.float32([0.25, 0.0]), np.array([100, 100]))
    >>> [hex(word) for word in found.words], found.regular
    (['0x80000001', '0x8000001f'], True)
    """
    mantissas, exponents = np.frexp(values.astype(np.float64))
    assert np.all(np.isfinite(mantissas) & (mantissas >= 0)), "multipliers are not negative"
    zero = mantissas == 0
    near = reach <= _NEAR_REACH
    most = np.where(near, _MOST_NEAR_SHIFT, _MOST_SHIFT)
    shifts = np.where(zero, most, np.clip(-exponents.astype(np.int64), _LEAST_SHIFT, most))
    least_regular, most_regular = _REGULAR_SHIFTS
    regular = (shifts >= least_regular) & ((shifts <= most_regular) | near)
    scaled = np.where(zero, 0.5, mantissas) * 2.0**_MANTISSA_BITS
    words = scaled.astype(np.uint32) << np.uint32(8) | (shifts & 0xFF).astype(np.uint32)
    return Multipliers(words, bool(regular.all()))
