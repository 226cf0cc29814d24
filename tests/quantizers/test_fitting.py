from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigmaquant.quantizers import (
    MomentFactor,
    compensated_levels,
    fitted_levels,
    level_bounds,
    nearest_levels,
    realigned_rows,
    starting_scales,
    weight_scales,
)
from sigmaquant.quantizers.rounding import DAMPING


def problem(seed: int, out: int = 4, k: int = 12) -> tuple[Tensor, Tensor]:
    """Weights (2, out, k) and correlated inputs (2, k, 80)."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, out, k, generator=generator)
    mixing = torch.randn(2, k, k, generator=generator)
    return rows, mixing @ torch.randn(2, k, 80, generator=generator)


def output_error(rows: Tensor, rounded: Tensor, inputs: Tensor) -> Tensor:
    """(groups, out): squared change of each row's outputs."""
    return ((rounded - rows) @ inputs).square().sum(-1)


def damped_error(rows: Tensor, rounded: Tensor, inputs: Tensor) -> Tensor:
    """(groups, out): the same with every weight's own change counted a little too."""
    mean_square = inputs.square().sum(-1).mean(-1)[:, None]
    own = (rounded - rows).square().sum(-1)
    return output_error(rows, rounded, inputs) + DAMPING * mean_square * own


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), bits=st.integers(2, 8))
def test_fitting_never_loses_to_compensation_alone(seed: int, bits: int) -> None:
    rows, inputs = problem(seed)
    moments = inputs @ inputs.mT
    low, high = level_bounds(bits)
    start = starting_scales(rows, bits, moments)
    levels, scales = fitted_levels(rows, (low, high), start, moments)
    alone = compensated_levels(rows, start, low, high, MomentFactor.of(moments)) * start
    found = damped_error(rows, levels * scales, inputs)
    assert bool((found <= damped_error(rows, alone, inputs) * 1.001 + 1e-4).all())
    assert bool((scales > 0).all())
    assert bool((levels == levels.round()).all())
    assert low <= float(levels.min()) <= float(levels.max()) <= high


@pytest.mark.parametrize("bits", [2, 3])
def test_fitting_gains_much_at_few_bits(bits: int) -> None:
    errors = torch.zeros(2)
    for seed in range(10):
        rows, inputs = problem(seed)
        moments = inputs @ inputs.mT
        low, high = level_bounds(bits)
        start = starting_scales(rows, bits, moments)
        alone = compensated_levels(rows, start, low, high, MomentFactor.of(moments)) * start
        levels, scales = fitted_levels(rows, (low, high), start, moments)
        errors[0] += output_error(rows, alone, inputs).sum()
        errors[1] += output_error(rows, levels * scales, inputs).sum()
    assert errors[1] < 0.85 * errors[0]


def test_no_other_scale_is_better_for_the_integers_found() -> None:
    """Where the last turn won, its scale is the minimum of a parabola; elsewhere it is near it."""
    rows, inputs = problem(3)
    moments = inputs @ inputs.mT
    levels, scales = fitted_levels(rows, (-4, 3), starting_scales(rows, 3, moments), moments)
    best = output_error(rows, levels * scales, inputs)
    for factor in (0.9, 1.1):
        assert bool((output_error(rows, levels * scales * factor, inputs) >= best * 0.98).all())


def test_scales_keep_above_the_least() -> None:
    rows, inputs = problem(4)
    moments = inputs @ inputs.mT
    start = starting_scales(rows, 4, moments)
    least = start * torch.tensor([0.0, 0.5, 1.5, 4.0])[None, :, None]
    _, scales = fitted_levels(rows, (-8, 7), start, moments, least)
    assert bool((scales >= least).all())


def test_several_widths_stacked_equal_each_alone() -> None:
    rows, inputs = problem(5)
    moments = inputs @ inputs.mT
    widths = (2, 4, 8)
    starts = torch.cat([starting_scales(rows, bits, moments) for bits in widths], dim=1)
    bounds = torch.tensor([level_bounds(bits) for bits in widths], dtype=torch.float32)
    low, high = bounds.repeat_interleave(4, dim=0)[None, :, :, None].unbind(2)
    levels, scales = fitted_levels(rows.repeat(1, 3, 1), (low, high), starts, moments)
    for index, bits in enumerate(widths):
        start = starting_scales(rows, bits, moments)
        alone = fitted_levels(rows, level_bounds(bits), start, moments)
        assert torch.equal(levels.chunk(3, 1)[index], alone[0])
        assert torch.allclose(scales.chunk(3, 1)[index], alone[1])


def test_without_any_input_the_weights_themselves_are_kept() -> None:
    rows, _ = problem(6)
    nothing = torch.zeros(2, 12, 12)
    start = starting_scales(rows, 3, nothing)
    levels, scales = fitted_levels(rows, (-4, 3), start, nothing)
    assert torch.equal(levels, nearest_levels(rows, scales, -4, 3))
    first = nearest_levels(rows, start, -4, 3) * start
    assert bool(((levels * scales - rows).norm(dim=-1) <= (first - rows).norm(dim=-1)).all())


def test_rows_of_zeros_stay_zeros() -> None:
    rows, inputs = problem(7)
    rows[:, 1] = 0
    moments = inputs @ inputs.mT
    levels, scales = fitted_levels(rows, (-4, 3), weight_scales(rows, 3), moments)
    assert not levels[:, 1].any()
    assert bool(torch.isfinite(scales).all())


def moments_of(exact: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    return exact @ real.mT, real @ real.mT


def test_rows_stay_where_the_inputs_are_as_they_should_be() -> None:
    rows, inputs = problem(8)
    assert torch.equal(realigned_rows(rows, *moments_of(inputs, inputs)), rows)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**16), noise=st.sampled_from([0.05, 0.3, 1.0]))
def test_realigned_rows_come_closer_to_the_exact_outputs(seed: int, noise: float) -> None:
    rows, inputs = problem(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    real = 0.9 * inputs + noise * torch.randn(inputs.shape, generator=generator)
    moved = realigned_rows(rows, *moments_of(inputs, real))
    before = (rows @ real - rows @ inputs).square().sum()
    after = (moved @ real - rows @ inputs).square().sum()
    assert after < before


def test_what_is_linear_in_the_difference_is_made_up_for() -> None:
    generator = torch.Generator().manual_seed(9)
    rows = torch.randn(1, 3, 6, generator=generator)
    inputs = torch.randn(1, 6, 500, generator=generator)
    real = 0.5 * inputs
    moved = realigned_rows(rows, *moments_of(inputs, real))
    # Twice the weights, less what the ridge of 5 % holds back.
    assert torch.allclose(moved, 2 * rows, rtol=0.1, atol=0.05)


def test_without_any_input_rows_stay() -> None:
    rows, _ = problem(10)
    nothing = torch.zeros(2, 12, 12)
    assert torch.equal(realigned_rows(rows, nothing, nothing), rows)


def entropy_bits(levels: Tensor) -> float:
    _, counts = levels.unique(return_counts=True)
    shares = counts / levels.numel()
    return -float((shares * shares.log2()).sum())


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_steps_that_clip_nothing_lose_less_at_the_same_entropy(bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 16, 1024, generator=generator)
    moments = torch.eye(1024)[None]
    bounds = level_bounds(bits)
    worth = {}
    for unclipped in (False, True):
        start = starting_scales(rows, bits, moments, unclipped=unclipped)
        levels, scales = fitted_levels(rows, bounds, start, moments)
        error = float((levels * scales - rows).square().mean())
        # Each bit more of entropy is worth a fourth of the error.
        worth[unclipped] = error * 4 ** entropy_bits(levels)
        at_the_ends = float(((levels == bounds[0]) | (levels == bounds[1])).float().mean())
        assert (at_the_ends < 0.003) == (unclipped and bits > 3)
    assert worth[True] < 0.93 * worth[False]


@pytest.mark.parametrize("bits", [2, 8])
def test_the_narrowest_and_the_widest_width_have_one_kind_of_step(bits: int) -> None:
    rows, inputs = problem(0)
    moments = inputs @ inputs.mT
    usual = starting_scales(rows, bits, moments)
    assert torch.equal(starting_scales(rows, bits, moments, unclipped=True), usual)
