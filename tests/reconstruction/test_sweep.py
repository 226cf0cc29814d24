from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

import sigmaquant as sq
from sigmaquant.bitplan import BitPlan
from sigmaquant.divergence import divergence
from sigmaquant.errors import ArtifactError, ConfigError, DataError
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import PlanQuantizer, QuantizedNetwork, quantize
from sigmaquant.reconstruction import reconstruct, sweep, tuning
from tests import nets


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.stem(x), 2))
        x = F.relu(x + self.second(F.relu(self.first(x))))
        return self.fc(x.mean((2, 3)))


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """In random order: the data set is sorted by writer."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order], torch.tensor(labels)[order]


@functools.cache
def trained() -> Network:
    x, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Residual()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(150):
            rows = torch.randperm(1000, generator=torch.Generator().manual_seed(step))[:64]
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return capture(model.eval(), x[:2])


def calibration() -> list[Tensor]:
    return list(digits()[0][1000:1160].split(40))


@functools.cache
def start(rounding: str = "compensated") -> QuantizedNetwork:
    plan = BitPlan.uniform(trained().table, 2)
    return quantize(trained(), plan, calibration(), rounding=rounding)


def loss_of(quantized: QuantizedNetwork, inputs: Tensor) -> float:
    """Mean divergence."""
    with torch.no_grad():
        return float(divergence(trained()(inputs), (quantized(inputs),)).mean())


def states_equal(a: QuantizedNetwork, b: QuantizedNetwork) -> bool:
    return all(torch.equal(value, b.state()[name]) for name, value in a.state().items())


def test_what_was_rounded_to_nearest_gains_on_data_never_seen() -> None:
    before = start("nearest")
    after = reconstruct(trained(), before, calibration(), steps=60)
    unseen = digits()[0][1160:]
    assert loss_of(after, unseen) < 0.7 * loss_of(before, unseen)


def test_weights_are_levels_of_the_same_plan_and_can_be_lowered() -> None:
    before = start("nearest")
    after = reconstruct(trained(), before, calibration(), steps=20)
    assert after.plan == before.plan
    for layer in trained().layer_nodes():
        weight, quantizer = after.weight(layer), after.weight_quantizer(layer)
        torch.testing.assert_close(quantizer(weight), weight, atol=1e-6, rtol=1e-6)
    assert lower(after).outputs


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_never_worse_on_what_is_held_back(seed: int) -> None:
    # With as many samples as are drawn, the held-back fifth is the first of their random order.
    inputs = torch.cat(calibration())
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    held = inputs[order[: len(inputs) // 5]]
    after = reconstruct(trained(), start(), calibration(), steps=15, seed=seed)
    assert loss_of(after, held) <= loss_of(start(), held)


def test_what_does_not_gain_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Steps of this size ruin every block.
    monkeypatch.setattr(tuning, "_ROUNDING_RATE", 50.0)
    monkeypatch.setattr(tuning, "_BIAS_RATE", 50.0)
    after = reconstruct(trained(), start(), calibration(), steps=3)
    assert states_equal(after, start())


def test_the_same_seed_gives_the_same_network() -> None:
    before = start("nearest")
    one, same, other = (
        reconstruct(trained(), before, calibration(), steps=4, seed=seed) for seed in (1, 1, 2)
    )
    assert states_equal(one, same)
    assert not states_equal(one, other)


def test_the_start_is_left_as_it_is() -> None:
    before = start("nearest").state()
    reconstruct(trained(), start("nearest"), calibration(), steps=2)
    assert all(torch.equal(value, before[name]) for name, value in start("nearest").state().items())


@pytest.mark.parametrize(
    "name", ["resnet", "attention", "tied", "fixed_batch", "multi_output", "two_inputs"]
)
def test_networks_of_every_kind_are_reconstructed_and_lowered(name: str) -> None:
    network, quantized = nets.captured(name), nets.quantized(name, 3)
    assert lower(reconstruct(network, quantized, nets.loader(name), steps=2)).outputs


@pytest.mark.parametrize(
    ("rounding", "anew"),
    [("compensated", "compensated"), ("nearest", "compensated"), ("coded", "coded")],
)
def test_blocks_are_rounded_anew_for_code_where_the_start_was(
    monkeypatch: pytest.MonkeyPatch, rounding: str, anew: str
) -> None:
    asked: list[str] = []

    class Recording(PlanQuantizer):
        def __init__(self, network: Network, calibration: Any, rounding: str) -> None:
            asked.append(rounding)
            super().__init__(network, calibration, rounding)

    monkeypatch.setattr(sweep, "PlanQuantizer", Recording)
    reconstruct(trained(), start(rounding), calibration(), steps=2, rounding=rounding)
    assert asked == [anew]


def test_errors() -> None:
    with pytest.raises(ConfigError, match="steps has to be at least 1, not 0"):
        sq.reconstruct(trained(), start(), calibration(), steps=0)
    with pytest.raises(ConfigError, match="unknown rounding 'up'"):
        sq.reconstruct(trained(), start(), calibration(), rounding="up")
    with pytest.raises(DataError, match="gave no samples"):
        sq.reconstruct(trained(), start(), [])
    with pytest.raises(DataError, match=r"1 samples cannot be split.*at least 2, better 256"):
        sq.reconstruct(trained(), start(), [digits()[0][:1]])
    with pytest.raises(ArtifactError, match="made from another network; quantize this one first"):
        sq.reconstruct(trained(), nets.quantized("mlp", 3), calibration())
