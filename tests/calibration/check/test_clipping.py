from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigmaquant.calibration.check.clipping import OutsideShare, outside, standard_error
from sigmaquant.quantizers import AffineRange, fake_quantize


@settings(max_examples=50, deadline=None)
@given(low=st.floats(-4, 0), high=st.floats(0.1, 4), bits=st.integers(2, 8))
def test_what_is_outside_is_what_loses_more_than_rounding(
    low: float, high: float, bits: int
) -> None:
    encoding = AffineRange.covering(low, high, bits)
    values = torch.linspace(-6, 6, 997).reshape(1, -1)
    lost = (fake_quantize(values, encoding) - values).abs() / encoding.scale
    assert abs(float(outside(values, encoding)) - int((lost > 0.5001).sum())) <= 2


def test_samples_without_positions_and_no_samples_at_all() -> None:
    encoding = AffineRange.covering(0.0, 1.0, 8)
    assert outside(torch.tensor([0.5, 2.0]), encoding).tolist() == [0, 1]
    assert outside(torch.ones(0, 3, 4), encoding).shape == (0,)


def test_means_and_errors_of_batches_together() -> None:
    fractions = torch.rand(50, dtype=torch.float64)
    share = OutsideShare().plus(fractions[:20]).plus(fractions[20:])
    assert share.samples == 50
    assert share.mean == pytest.approx(float(fractions.mean()))
    assert share.variance == pytest.approx(float(fractions.var(correction=0)))


def test_a_small_set_without_outliers_does_not_seem_certain() -> None:
    none = OutsideShare().plus(torch.zeros(8))
    rare = torch.zeros(400)
    rare[::50] = 0.2
    seen = OutsideShare().plus(rare)
    error = standard_error(none, seen)
    pooled = math.sqrt((none + seen).variance)
    assert error == pytest.approx(pooled * math.sqrt(1 / 8 + 1 / 400))
    assert seen.mean - none.mean < error
