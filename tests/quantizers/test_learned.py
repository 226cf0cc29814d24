from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sigmaquant.quantizers import AffineRange, fake_quantize, level_bounds
from sigmaquant.quantizers.learned import ActivationQuantizer, WeightQuantizer


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_land_on_their_grid(bits: int) -> None:
    weight, scales = randn(4, 3, 2, 2), torch.rand(4, 1, 1, 1) + 0.1
    quantizer = WeightQuantizer(scales, bits)
    levels = quantizer.levels(weight)
    low, high = level_bounds(bits)
    assert levels.dtype == torch.int8
    assert low <= int(levels.min()) <= int(levels.max()) <= high
    assert torch.equal(quantizer(weight), levels * scales)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_weight_gradients_follow_the_paper(bits: int) -> None:
    weight = randn(4, 6).requires_grad_()
    quantizer = WeightQuantizer(torch.tensor([[0.1], [0.3], [0.7], [2.0]]), bits)
    gradient = randn(4, 6, seed=1)
    quantizer(weight).backward(gradient)
    low, high = level_bounds(bits)
    v = (weight / quantizer.scale).detach()
    # Esser et al. 2020, eq. 3 and 5, and the scale of section 2.2.
    by_scale = torch.where(v < low, float(low), torch.where(v > high, float(high), v.round() - v))
    expected = (gradient * by_scale).sum(1, keepdim=True) / math.sqrt(6 * high)
    assert torch.allclose(quantizer.scale.grad, expected, atol=1e-6)  # type: ignore[arg-type]
    assert torch.equal(weight.grad, gradient * ((v >= low) & (v <= high)))  # type: ignore[arg-type]


def test_the_scales_gradient_is_the_slope_where_the_levels_stay() -> None:
    """With every value outside the bounds, no rounding is left: the output is bound * scale."""
    quantizer = WeightQuantizer(torch.full((2, 1), 0.1), 3)
    weight = torch.tensor([[5.0, -5.0, 5.0], [9.0, 9.0, -9.0]])
    quantizer(weight).sum().backward()
    step = 1e-3
    slope = []
    for row in range(2):
        moved = WeightQuantizer(torch.full((2, 1), 0.1), 3)
        moved.scale.data[row] += step
        slope.append((moved(weight) - quantizer(weight)).sum().item() / step)
    expected = torch.tensor(slope)[:, None] / math.sqrt(3 * 3)
    assert torch.allclose(quantizer.scale.grad, expected, atol=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize("zero_point", [0, 5, 15])
def test_activation_gradients_follow_the_paper(zero_point: int) -> None:
    encoding = AffineRange(0.2, zero_point, 4)
    quantizer = ActivationQuantizer(encoding)
    x = (randn(3, 50) * 2).requires_grad_()
    gradient = randn(3, 50, seed=2)
    y = quantizer(x)
    assert torch.allclose(y, fake_quantize(x, encoding), atol=1e-5)
    y.backward(gradient)
    v = (x / quantizer.scale).detach()
    low, high = -zero_point, 15 - zero_point
    by_scale = torch.where(v < low, float(low), torch.where(v > high, float(high), v.round() - v))
    expected = (gradient * by_scale).sum() / math.sqrt(50 * 15)
    assert torch.allclose(quantizer.scale.grad, expected, rtol=1e-4)  # type: ignore[arg-type]
    assert torch.equal(x.grad, gradient * ((v >= low) & (v <= high)))  # type: ignore[arg-type]


def test_an_encoding_survives_its_state() -> None:
    quantizer = ActivationQuantizer(AffineRange(0.25, 7, 4))
    other = ActivationQuantizer(AffineRange(1.0, 0, 4))
    other.load_state_dict(quantizer.state_dict())
    assert other.encoding() == AffineRange(0.25, 7, 4)
    assert [name for name, _ in other.named_parameters()] == ["scale"]


def test_scales_stay_positive_whatever_training_does() -> None:
    quantizer = ActivationQuantizer(AffineRange(0.25, 7, 4))
    quantizer.scale.data.fill_(-1.0)
    assert quantizer.encoding().scale > 0
    assert bool(torch.isfinite(quantizer(randn(2, 3))).all())
