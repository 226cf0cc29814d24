from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.profiling.relative_fit import fitted_errors, left_out_errors, relative_fit

coefficients = st.lists(st.floats(0.01, 100), min_size=3, max_size=3)


def made_work(samples=8):
    random = np.random.default_rng(0)
    return random.uniform(1, 1000, (samples, 3))


@given(coefficients)
def test_exact_sums_are_found_again(true):
    work = made_work()
    assert relative_fit(work, work @ true) == pytest.approx(true)
    assert np.abs(left_out_errors(work, work @ true)).max() < 1e-6


@given(st.lists(st.floats(0.5, 2), min_size=8, max_size=8))
def test_no_coefficient_is_negative_and_no_step_away_is_better(noise):
    work = made_work()
    measured = work @ [1.0, 0.0, 0.2] * noise
    found = relative_fit(work, measured)
    assert (found >= 0).all()
    assert found[0] > 0
    error = np.square(work @ found / measured - 1).sum()
    for step in 1e-3 * np.vstack([np.eye(3), -np.eye(3)]):
        moved = np.maximum(found + step, 0)
        assert np.square(work @ moved / measured - 1).sum() >= error - 1e-9


def test_errors_are_relative_and_worse_where_a_sample_was_not_seen():
    work = np.array([[1.0], [2.0], [4.0]])
    measured = np.array([1.0, 2.0, 8.0])
    assert left_out_errors(work, measured)[2] == pytest.approx(-0.5)
    assert -0.5 < fitted_errors(work, measured)[2] < 0
