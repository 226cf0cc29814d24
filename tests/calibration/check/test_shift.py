"""The distance between two sets of samples, and the noise of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigmaquant.calibration.check.shift import BLOCKS, FEWEST_SAMPLES, Moments, Shift, shift


def moments(values: Tensor, blocks: int = BLOCKS) -> Moments:
    """Of (samples, channels, positions), in blocks of equal size."""
    return Moments.of(values, torch.arange(len(values)) % blocks, blocks)


def found(calibration: Tensor, other: Tensor, seed: int = 0) -> Shift:
    result = shift(moments(calibration), moments(other, 1), seed)
    assert result is not None
    return result


def draw(samples: int, seed: int, channels: int = 3, positions: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(samples, channels, 1, generator=generator)
    return image + torch.randn(samples, channels, positions, generator=generator)


@settings(max_examples=30, deadline=None)
@given(
    offset=st.floats(-3, 3),
    gain=st.floats(0.2, 3),
    scale=st.floats(1e-3, 1e3),
    centre=st.floats(-100, 100),
)
def test_is_the_frechet_distance_of_normal_distributions(
    offset: float, gain: float, scale: float, centre: float
) -> None:
    """With every channel moved and stretched alike, d = sqrt(offset^2 + (gain - 1)^2)."""
    x = draw(64, 0)
    mean = x.mean((0, 2), keepdim=True)
    deviation = x.std((0, 2), keepdim=True, correction=0)
    moved = (x - mean) * gain + mean + offset * deviation
    expected = (offset**2 + (gain - 1) ** 2) ** 0.5
    result = found(scale * (x + centre), scale * (moved + centre))
    assert result.shift == pytest.approx(expected, rel=1e-2, abs=2e-3)


def test_by_hand() -> None:
    """Two channels: one moves by 3, the other's deviation goes from 4 to 0."""
    ones = torch.tensor([-1.0, 1.0]).repeat(16)[:, None, None]
    calibration = torch.cat((ones * 3, ones * 4), dim=1)
    other = torch.cat((ones * 3 + 3, ones * 0), dim=1)
    assert found(calibration, other).shift == pytest.approx((3**2 + 4**2) ** 0.5 / 5)


def test_batches_add_up() -> None:
    x = draw(40, 1)
    blocks = torch.arange(40) % BLOCKS
    whole = Moments.of(x, blocks, BLOCKS)
    parts = Moments.of(x[:7], blocks[:7], BLOCKS) + Moments.of(x[7:], blocks[7:], BLOCKS)
    torch.testing.assert_close(whole.sums, parts.sums)
    torch.testing.assert_close(whole.samples, parts.samples)


@pytest.mark.parametrize(("calibrated", "compared"), [(64, 64), (64, 1000), (512, 128)])
def test_the_noise_is_that_of_data_of_one_kind(calibrated: int, compared: int) -> None:
    """Over many draws, squared distances are as large as the noise says, and seldom above it."""
    results = [
        found(draw(calibrated, seed), draw(compared, 1000 + seed), seed) for seed in range(40)
    ]
    shifts = torch.tensor([each.shift for each in results])
    noise = torch.tensor([each.noise for each in results])
    assert float(shifts.square().mean() / noise.square().mean()) == pytest.approx(1, abs=0.35)
    assert sum(each.shift > each.noise_limit for each in results) <= 2


def test_few_samples_raise_the_limit_of_the_noise() -> None:
    few, many = found(draw(8, 0), draw(100, 1)), found(draw(FEWEST_SAMPLES, 0), draw(100, 1))
    assert few.noise_limit > 8 * few.noise
    assert many.noise_limit < 4 * many.noise


def test_the_seed_decides_the_halves() -> None:
    x, y = draw(64, 0), draw(64, 1)
    assert found(x, y, 0) == found(x, y, 0)
    assert found(x, y, 0).noise != found(x, y, 1).noise


def test_values_that_never_vary_have_no_distance() -> None:
    assert shift(moments(torch.ones(16, 2, 3)), moments(draw(4, 0, 2, 3), 1), 0) is None


def test_dead_channels_do_not_count() -> None:
    x, y = draw(64, 0), draw(64, 1)
    dead = torch.zeros(64, 1, 5)
    with_dead = found(torch.cat((x, dead), 1), torch.cat((y, dead), 1))
    assert with_dead.shift == pytest.approx(found(x, y).shift)
