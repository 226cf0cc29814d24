from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sigmaquant.quantizers import level_bounds
from sigmaquant.reconstruction.soft_rounding import SoftRounding, beta_at, indecision

BITS = st.integers(2, 8)
SEEDS = st.integers(0, 2**16)


def rounding(bits: int, seed: int) -> tuple[SoftRounding, Tensor, Tensor, Tensor]:
    """A layer's rounding with its starting levels, scales and gradient."""
    generator = torch.Generator().manual_seed(seed)
    low, high = level_bounds(bits)
    start = torch.randint(low, high + 1, (3, 5), generator=generator).float()
    scale = torch.rand(3, 1, generator=generator) + 0.1
    gradient = torch.randn(3, 5, generator=generator)
    return SoftRounding(start, scale, bits, gradient), start, scale, gradient


@given(BITS, SEEDS)
def test_it_starts_at_the_given_levels(bits: int, seed: int) -> None:
    soft, start, _, _ = rounding(bits, seed)
    assert torch.equal(soft.levels(), start)


@given(BITS, SEEDS, st.sampled_from([-9.0, 9.0]))
def test_both_choices_are_levels_of_the_width(bits: int, seed: int, extreme: float) -> None:
    soft, start, scale, _ = rounding(bits, seed)
    low, high = level_bounds(bits)
    with torch.no_grad():
        soft.variables.fill_(extreme)
    levels = soft.levels()
    assert bool(((levels >= low) & (levels <= high)).all())
    assert bool(((levels - start).abs() <= 1).all())
    # A decided weight is exactly what the integers stand for.
    assert torch.equal(soft.weight(), levels * scale)


@given(BITS, SEEDS)
def test_the_other_level_is_where_the_loss_falls(bits: int, seed: int) -> None:
    soft, start, scale, gradient = rounding(bits, seed)
    low, high = level_bounds(bits)
    free = (start > low) & (start < high)
    step = (soft.weight().detach() - start * scale)[free]
    assert torch.equal(step.sign(), -gradient[free].sign())


def test_the_gradient_is_that_of_the_rectified_sigmoid() -> None:
    soft, _, scale, _ = rounding(4, 0)
    soft.weight().sum().backward()  # type: ignore[no-untyped-call]
    sigmoid = torch.sigmoid(soft.variables.detach())
    expected = scale * 1.2 * sigmoid * (1 - sigmoid)  # eq. 23, between its bounds
    assert soft.variables.grad is not None
    torch.testing.assert_close(soft.variables.grad, expected)


@given(st.floats(2, 20), SEEDS)
def test_indecision_lies_between_nought_and_one_and_ends_at_the_levels(
    beta: float, seed: int
) -> None:
    soft, _, _, _ = rounding(3, seed)
    assert 0 < float(indecision([soft], beta).detach()) < 1
    for value, expected in ((9.0, 0.0), (-9.0, 0.0), (0.0, 1.0)):
        with torch.no_grad():
            soft.variables.fill_(value)
        assert float(indecision([soft], beta).detach()) == pytest.approx(expected, abs=1e-6)


def test_indecision_draws_every_weight_to_the_nearer_level() -> None:
    soft, start, _, _ = rounding(4, 1)
    optimizer = torch.optim.Adam([soft.variables], 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        indecision([soft], 2.0).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    fractions = soft.fractions().detach()
    assert bool(((fractions == 0) | (fractions == 1)).all())
    assert torch.equal(soft.levels(), start)


def test_the_exponent_falls_from_20_to_2_after_the_warm_up() -> None:
    assert beta_at(0.0) is None
    assert beta_at(0.2) == pytest.approx(20)
    assert beta_at(0.6) == pytest.approx(11)
    assert beta_at(1.0) == pytest.approx(2)
