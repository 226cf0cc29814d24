from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigmaquant.quantizers import level_bounds, weight_scales

widths = st.integers(2, 8)


@st.composite
def rows(draw: st.DrawFn) -> Tensor:
    """Weights (groups, out, k), of any size from very small to large."""
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 20)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    magnitude = 10.0 ** draw(st.integers(-6, 3))
    return torch.randn(shape, generator=generator) * magnitude


def squared_error(rows: Tensor, scale: Tensor, bits: int, importance: Tensor | float) -> Tensor:
    low, high = level_bounds(bits)
    q = (rows / scale).round().clamp(low, high)
    return ((q * scale - rows) ** 2 * importance).sum(-1, keepdim=True)


@pytest.mark.parametrize("bits", range(2, 8))
def test_levels_are_signed_and_use_every_bit(bits: int) -> None:
    low, high = level_bounds(bits)
    assert high - low + 1 == 2**bits
    assert low == -high - 1


@settings(deadline=None, max_examples=60)
@given(rows=rows(), bits=widths)
def test_scales_are_positive_and_the_best_of_the_grid(rows: Tensor, bits: int) -> None:
    scales = weight_scales(rows, bits)
    assert scales.shape == (*rows.shape[:-1], 1)
    assert bool((scales > 0).all())
    low, high = level_bounds(bits)
    covering = torch.maximum(rows.amax(-1, keepdim=True) / high, rows.amin(-1, keepdim=True) / low)
    grid = torch.linspace(1.0, 0.3, 60)
    errors = torch.stack([squared_error(rows, covering * f, bits, 1.0) for f in grid])
    found = squared_error(rows, scales, bits, 1.0)
    assert bool((found <= errors.amin(0) * (1 + 1e-4) + 1e-30).all())


@settings(deadline=None, max_examples=30)
@given(rows=rows(), bits=widths, seed=st.integers(0, 2**16))
def test_importance_weighs_the_error(rows: Tensor, bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    importance = torch.rand(rows.shape[0], rows.shape[2], generator=generator) + 1e-3
    weighed = weight_scales(rows, bits, importance)
    plain = weight_scales(rows, bits)
    by_row = importance[:, None, :]
    error = squared_error(rows, weighed, bits, by_row)
    assert bool((error <= squared_error(rows, plain, bits, by_row) * (1 + 1e-5)).all())


def test_both_signs_are_covered_where_the_lowest_level_reaches_further() -> None:
    # At two bits the levels are -2 .. 1: a scale of 1 keeps -2 and 1, and 2 would need 2.
    assert weight_scales(torch.tensor([[-2.0, 1.0]]), 2).item() == 1.0
    covering = weight_scales(torch.tensor([[2.0, 2.0]]), 2).item()
    assert covering == pytest.approx(2.0)


def test_a_row_of_zeros_has_a_scale_too() -> None:
    scales = weight_scales(torch.zeros(1, 2, 5), 4)
    assert bool((scales > 0).all())
    assert bool(torch.isfinite(scales).all())


def test_no_input_ever_seen_still_gives_the_covering_scale() -> None:
    scales = weight_scales(torch.tensor([[[1.0, -4.0]]]), 4, torch.zeros(1, 2))
    assert scales.item() == 0.5
