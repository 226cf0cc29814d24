from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigmaquant.quantizers import (
    MomentFactor,
    compensated_levels,
    level_bounds,
    nearest_levels,
    weight_scales,
)


def problem(
    seed: int, groups: int = 1, out: int = 3, k: int = 12, samples: int = 60, bits: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (groups, out, k), their scales, and correlated inputs (groups, k, samples)."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(groups, out, k, generator=generator)
    mixing = torch.randn(groups, k, k, generator=generator) / k**0.5
    inputs = torch.randn(groups, k, samples, generator=generator)
    inputs = inputs + 2 * mixing @ torch.randn(groups, k, samples, generator=generator)
    return rows, weight_scales(rows, bits), inputs


def textbook_levels(
    row: Tensor, scale: float, low: int, high: int, moments: Tensor, damping: float = 0.01
) -> list[int]:
    """GPTQ for one row, column by column (Frantar et al. 2023, algorithm 1), in float64.

    After each column, the inverse of the moments that are left is found anew by removing that
    column's row and column (their eq. 3), with no Cholesky factor and no blocks.
    """
    k = len(row)
    hessian = moments.double().clone()
    order = sorted(range(k), key=lambda j: (-float(hessian[j, j]), j))
    hessian += damping * hessian.diagonal().mean() * torch.eye(k, dtype=torch.float64)
    inverse = torch.linalg.inv(hessian)
    weights = row.double().clone()
    levels = [0] * k
    for position, j in enumerate(order):
        q = max(low, min(high, round(float(weights[j]) / scale)))
        levels[j] = q
        error = (weights[j] - q * scale) / inverse[j, j]
        for later in order[position + 1 :]:
            weights[later] -= error * inverse[j, later]
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return levels


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**16), bits=st.integers(2, 8))
def test_nearest_is_nearest(seed: int, bits: int) -> None:
    rows, scales, _ = problem(seed, bits=bits)
    low, high = level_bounds(bits)
    levels = nearest_levels(rows, scales, low, high)
    every = torch.arange(low, high + 1, dtype=torch.float32)
    distances = (every * scales[..., None] - rows[..., None]).abs()
    chosen = (levels * scales - rows).abs()
    assert bool((chosen <= distances.amin(-1) * (1 + 1e-6) + 1e-7).all())
    assert bool((levels >= low).all())
    assert bool((levels <= high).all())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("k", [1, 7, 12])
def test_compensated_rounding_is_the_textbooks(bits: int, k: int) -> None:
    low, high = level_bounds(bits)
    for seed in range(5):
        rows, scales, inputs = problem(seed, groups=2, k=k, bits=bits)
        moments = inputs @ inputs.mT
        levels = compensated_levels(rows, scales, low, high, MomentFactor.of(moments))
        for group in range(2):
            for out in range(3):
                expected = textbook_levels(
                    rows[group, out], float(scales[group, out]), low, high, moments[group]
                )
                assert levels[group, out].int().tolist() == expected


def test_blocks_of_columns_change_nothing() -> None:
    rows, scales, inputs = problem(3, out=2, k=300, samples=700)
    moments = inputs @ inputs.mT
    levels = compensated_levels(rows, scales, -4, 3, MomentFactor.of(moments))
    for out in range(2):
        expected = textbook_levels(rows[0, out], float(scales[0, out]), -4, 3, moments[0])
        different = (levels[0, out] - torch.tensor(expected)).abs()
        # In float32 a weight may fall on the other side of a tie, and others answer to it.
        assert int((different > 0).sum()) <= 3
        assert int(different.max()) <= 1


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_compensation_lowers_the_error_of_the_outputs(bits: int) -> None:
    low, high = level_bounds(bits)
    better = 0
    for seed in range(20):
        rows, scales, inputs = problem(seed, out=8, k=40, samples=200, bits=bits)
        factor = MomentFactor.of(inputs @ inputs.mT)
        nearest = nearest_levels(rows, scales, low, high)
        compensated = compensated_levels(rows, scales, low, high, factor)
        errors = [
            float((((levels * scales) - rows) @ inputs).square().sum())
            for levels in (nearest, compensated)
        ]
        better += errors[1] < errors[0]
    assert better == 20


def test_several_widths_stacked_equal_each_alone() -> None:
    rows, _, inputs = problem(5, groups=2, out=4, k=20)
    factor = MomentFactor.of(inputs @ inputs.mT)
    widths = (2, 5, 8)
    scales = torch.cat([weight_scales(rows, bits) for bits in widths], dim=1)
    bounds = torch.tensor([level_bounds(bits) for bits in widths], dtype=torch.float32)
    low, high = bounds.repeat_interleave(4, dim=0)[None, :, :, None].unbind(2)
    stacked = compensated_levels(rows.repeat(1, 3, 1), scales, low, high, factor)
    for bits, part in zip(widths, stacked.chunk(3, dim=1), strict=True):
        alone = compensated_levels(rows, weight_scales(rows, bits), *level_bounds(bits), factor)
        assert torch.equal(part, alone)


def test_columns_that_saw_no_input_round_to_nearest() -> None:
    rows, scales, inputs = problem(7, k=10)
    inputs[:, [2, 9]] = 0
    factor = MomentFactor.of(inputs @ inputs.mT)
    levels = compensated_levels(rows, scales, -4, 3, factor)
    nearest = nearest_levels(rows, scales, -4, 3)
    assert torch.equal(levels[..., [2, 9]], nearest[..., [2, 9]])
    assert not torch.equal(levels, nearest)


def test_no_input_at_all_rounds_everything_to_nearest() -> None:
    rows, scales, _ = problem(8, k=10)
    factor = MomentFactor.of(torch.zeros(1, 10, 10))
    levels = compensated_levels(rows, scales, -4, 3, factor)
    assert torch.equal(levels, nearest_levels(rows, scales, -4, 3))


def test_fewer_samples_than_columns_are_enough() -> None:
    rows, scales, inputs = problem(9, k=50, samples=5)
    levels = compensated_levels(rows, scales, -4, 3, MomentFactor.of(inputs @ inputs.mT))
    assert bool(torch.isfinite(levels).all())
    assert bool((levels == levels.round()).all())


def test_rows_are_rounded_in_their_own_order_and_given_back_in_the_first() -> None:
    # Independent inputs: no error can be made up for, whatever the order.
    rows, scales, _ = problem(10, k=6)
    moments = torch.diag(torch.tensor([1.0, 5.0, 2.0, 9.0, 0.5, 3.0]))[None]
    factor = MomentFactor.of(moments)
    assert factor.order.tolist() == [[3, 1, 5, 2, 0, 4]]
    levels = compensated_levels(rows, scales, -4, 3, factor)
    assert torch.equal(levels, nearest_levels(rows, scales, -4, 3))
