"""Coefficients of a sum of costs, fitted to measured times by relative errors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_BETTER = 1e-9  # less than this of squared error is rounding, and does not pay for a coefficient


def relative_fit(work: FloatArray, measured: FloatArray) -> FloatArray:
    """The coefficients, none negative, with the least sum of squared relative errors.

    Under such bounds the minimum is an ordinary least-squares solution over some of the columns
    (Lawson and Hanson 1974, chapter 23). There are few columns, so all subsets are tried.

    Args:
        work: (samples, terms); the first term always has a coefficient above 0.
        measured: (samples,), above 0.

    Returns:
        (terms,), 0 where a term explains nothing.
    """
    shares, wanted = work / measured[:, None], np.ones(len(measured))
    best, least = np.zeros(work.shape[1]), np.inf
    for columns in _subsets(work.shape[1]):
        chosen = np.linalg.lstsq(shares[:, columns], wanted, rcond=None)[0]
        error = float(np.square(shares[:, columns] @ chosen - wanted).sum())
        if chosen[0] > 0 and (chosen >= 0).all() and error < least - _BETTER:
            best, least = np.zeros(work.shape[1]), error
            best[columns] = chosen
    return best


def fitted_errors(work: FloatArray, measured: FloatArray) -> FloatArray:
    """Relative error of each sample, with coefficients fitted to all: (samples,)."""
    errors: FloatArray = work @ relative_fit(work, measured) / measured - 1
    return errors


def left_out_errors(work: FloatArray, measured: FloatArray) -> FloatArray:
    """Relative error of each sample, with coefficients fitted to all others: (samples,)."""
    errors = np.empty(len(measured))
    for at in range(len(measured)):
        others = np.arange(len(measured)) != at
        predicted = work[at] @ relative_fit(work[others], measured[others])
        errors[at] = predicted / measured[at] - 1
    return errors


def _subsets(terms: int) -> Iterator[list[int]]:
    """Column numbers, few first, each with the first column."""
    for size in range(terms):
        for others in itertools.combinations(range(1, terms), size):
            yield [0, *others]
