"""The active-set fit beside brute force over all subsets of the terms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigmaquant.profiling.nonnegative_fit import nonnegative_fit
from sigmaquant.profiling.relative_fit import relative_fit


def squares(work: np.ndarray, measured: np.ndarray, found: np.ndarray) -> float:
    return float(np.square(work @ found / measured - 1).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(5, 12))
def test_nothing_not_negative_fits_better(seed: int, terms: int, samples: int) -> None:
    random = np.random.default_rng(seed)
    work, measured = random.uniform(0, 1, (samples, terms)), random.uniform(0.5, 2, samples)
    found = nonnegative_fit(work, measured)
    assert (found >= 0).all()
    least = squares(work, measured, found)
    assert least <= squares(work, measured, relative_fit(work, measured)) + 1e-7
    for _ in range(20):
        other = np.maximum(found + random.normal(0, 0.05, terms), 0)
        assert least <= squares(work, measured, other) + 1e-9


def test_exact_costs_are_found_again_whatever_their_size() -> None:
    random = np.random.default_rng(0)
    costs = np.array([1.5, 0.0, 300.0, 0.02, 9000.0])
    work = random.uniform(0, 1, (40, 5)) * [1e6, 1e4, 1e3, 1e5, 1.0]
    assert nonnegative_fit(work, work @ costs) == pytest.approx(costs, rel=1e-6, abs=1e-6)
