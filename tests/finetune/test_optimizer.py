from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sigmaquant.bitplan import BitPlan
from sigmaquant.finetune.optimizer import RelativeAdam
from sigmaquant.network import capture
from sigmaquant.quantized import QuantizedNetwork, quantize
from tests import nets

_SIZES = torch.tensor([1e-3, 1.0, 1e3])  # of the three channels


def uneven() -> QuantizedNetwork:
    """Three channels, each a thousand times the one before."""
    torch.manual_seed(0)
    layer = nn.Linear(16, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 16) * _SIZES[:, None])
        layer.bias.copy_(_SIZES)
    inputs = torch.randn(64, 16)
    network = capture(nn.Sequential(layer), inputs[:2])
    return quantize(network, BitPlan.uniform(network.table, 4), [inputs], rounding="nearest")


def test_the_first_step_is_the_rate_times_the_size_of_each_channel() -> None:
    student = uneven()
    weight, bias = student.weight("0"), student.bias("0")
    scale = student.weight_quantizer("0").scale
    before = {p: p.detach().clone() for p in student.parameters()}
    for parameter in student.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    RelativeAdam(student).step(0.01, 0.0)
    sizes = before[weight].square().mean(1).sqrt()
    moved = (before[weight] - weight.detach()) / sizes[:, None]
    torch.testing.assert_close(moved, torch.full((3, 16), 0.01), rtol=1e-3, atol=0)
    torch.testing.assert_close(scale.detach(), before[scale] * 0.99)
    # The bias's size is shared out as the weight's is.
    shares = (before[bias] - bias.detach()) / sizes
    torch.testing.assert_close(shares, shares[2].expand(3), rtol=1e-3, atol=0)
    assert float(shares[2]) == pytest.approx(
        0.01 * float(before[bias].square().mean().sqrt() / sizes.square().mean().sqrt()), rel=1e-3
    )


def test_the_schedule_is_a_cosine_and_what_has_no_gradient_stays() -> None:
    student = uneven()
    weight, bias = student.weight("0"), student.bias("0")
    optimizer = RelativeAdam(student)
    steps = []
    for done in (0.0, 0.5, 1.0):
        before = weight.detach().clone()
        optimizer.zero_grad()
        weight.grad = torch.ones_like(weight)
        kept = bias.detach().clone()
        optimizer.step(0.01, done)
        steps.append(float((before - weight.detach())[1, 0]))
        assert torch.equal(bias.detach(), kept)
    assert steps == pytest.approx([steps[0], steps[0] / 2, 0.0], rel=1e-3, abs=1e-9)


def test_moments_that_were_kept_go_on() -> None:
    def gradients(student: QuantizedNetwork, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in student.parameters():
            parameter.grad = torch.randn_like(parameter)

    one, other = uneven(), uneven()
    first, second = RelativeAdam(one), RelativeAdam(other)
    gradients(one, 1)
    first.step(0.01, 0.0)
    other.restore(one.state())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for student, optimizer in ((one, first), (other, second)):
        gradients(student, 2)
        optimizer.step(0.01, 0.5)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["resnet", "tied", "concat", "pyramid"])
def test_every_parameter_has_a_size(name: str) -> None:
    student = nets.quantized(name, 4).copy()
    before = [p.detach().clone() for p in student.parameters()]
    for parameter in student.parameters():
        parameter.grad = torch.ones_like(parameter)
    RelativeAdam(student).step(0.01, 0.0)
    for old, new in zip(before, student.parameters(), strict=True):
        assert torch.isfinite(new).all()
        assert float((old - new.detach()).abs().max()) > 0
