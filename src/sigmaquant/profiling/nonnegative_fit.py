"""Many coefficients of a sum of costs, none negative, fitted by relative errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sigmaquant.profiling.relative_fit import FloatArray

BoolArray = npt.NDArray[np.bool_]

_MOST_ROUNDS = 1000
_SLOPE = 1e-10  # what lies below it is rounding


def nonnegative_fit(work: FloatArray, measured: FloatArray) -> FloatArray:
    """The coefficients with the least sum of squared relative errors.

    The active-set method of Lawson and Hanson 1974, chapter 23, algorithm NNLS.

    Args:
        work: (samples, terms).
        measured: (samples,), above 0.

    Returns:
        (terms,), 0 where a term explains nothing.
    """
    shares = work / measured[:, None]
    lengths = np.linalg.norm(shares, axis=0)
    lengths[lengths == 0] = 1.0  # terms that no sample uses
    columns, wanted = shares / lengths, np.ones(len(measured))
    found = np.zeros(work.shape[1])
    free = np.zeros(work.shape[1], bool)
    for _ in range(_MOST_ROUNDS):
        slopes = np.where(free, 0.0, columns.T @ (wanted - columns @ found))
        if slopes.max() <= _SLOPE:
            break
        free[int(slopes.argmax())] = True
        found, free = _within(columns, wanted, found, free)
    result: FloatArray = found / lengths
    return result


def _within(
    columns: FloatArray, wanted: FloatArray, start: FloatArray, free: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """Go from a solution to that of the free terms, and stop where one of them becomes negative."""
    found, left = start, free.copy()
    while True:
        target = np.zeros_like(found)
        target[left] = np.linalg.lstsq(columns[:, left], wanted, rcond=None)[0]
        if (target[left] > 0).all():
            return target, left
        falling = left & (target <= 0)
        share = (found[falling] / (found[falling] - target[falling])).min()
        found = found + share * (target - found)
        left &= found > _SLOPE
