from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigmaquant.quantizers import descent, level_bounds, nearest_levels, weight_scales
from sigmaquant.quantizers.descent import descended_levels
from sigmaquant.quantizers.rounding import damped_moments


def problem(seed: int, bits: int, k: int = 10) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights (2, 3, k), rounded to nearest, with their scales and correlated moments."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, 3, k, generator=generator)
    inputs = torch.randn(2, k, k, generator=generator) @ torch.randn(2, k, 80, generator=generator)
    scales = weight_scales(rows, bits)
    return rows, nearest_levels(rows, scales, *level_bounds(bits)), scales, inputs @ inputs.mT


def error(rows: Tensor, levels: Tensor, scales: Tensor, moments: Tensor) -> Tensor:
    """(groups, out): squared change of each row's outputs."""
    change = levels * scales - rows
    return ((change @ moments) * change).sum(-1)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), bits=st.integers(2, 8))
def test_a_sweep_never_loses(seed: int, bits: int) -> None:
    rows, levels, scales, moments = problem(seed, bits)
    low, high = level_bounds(bits)
    found = descended_levels(rows, levels, scales, (low, high), moments)
    before = error(rows, levels, scales, moments)
    assert bool((error(rows, found, scales, moments) <= before * 1.0001 + 1e-4).all())
    assert bool((found == found.round()).all())
    assert low <= float(found.min()) <= float(found.max()) <= high


@pytest.mark.parametrize("bits", [2, 4])
def test_in_the_end_no_other_integer_of_one_column_is_better(bits: int) -> None:
    rows, levels, scales, moments = problem(0, bits)
    low, high = level_bounds(bits)
    for _ in range(20):
        levels = descended_levels(rows, levels, scales, (low, high), moments)
    best = error(rows, levels, scales, moments)
    for column in range(rows.shape[-1]):
        for integer in range(low, high + 1):
            other = levels.clone()
            other[..., column] = integer
            assert bool((error(rows, other, scales, moments) >= best * 0.9999 - 1e-4).all())


def test_bounds_of_several_widths_hold_row_by_row() -> None:
    rows, levels, scales, moments = problem(1, 2)
    low, high = (torch.tensor(ends).reshape(1, 3, 1) for ends in ((-2, -4, -8), (1, 3, 7)))
    found = descended_levels(rows, levels, scales / 4, (low, high), moments)
    assert bool(((found >= low) & (found <= high)).all())
    assert float(found[:, 2].abs().max()) > 3


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, levels, scales, moments = problem(2, 3, k=40)
    whole = descended_levels(rows, levels, scales, (-4, 3), moments)
    monkeypatch.setattr(descent, "_BLOCK", 7)
    assert torch.equal(descended_levels(rows, levels, scales, (-4, 3), moments), whole)


def test_an_input_that_never_varies_keeps_its_integer() -> None:
    rows, levels, scales, moments = problem(3, 4)
    moments[:, 5], moments[:, :, 5] = 0, 0
    found = descended_levels(rows, levels, scales, (-8, 7), damped_moments(moments))
    assert torch.equal(found[..., 5], levels[..., 5])
