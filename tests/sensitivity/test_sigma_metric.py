from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from sigmaquant.layers import WIDTHS
from sigmaquant.sensitivity import SensitivityTable
from sigmaquant.sensitivity.candidates import layer_weight
from sigmaquant.sensitivity.sigma import histogram_divergences, sigma_scores, weight_sigmas
from tests import nets


def test_a_table_of_weights_alone(tmp_path: Path) -> None:
    network = nets.captured("mobilenet")
    table = sigma_scores(network)
    assert list(table.scores) == [layer.name for layer in network.table.layers]
    assert all(tuple(by_width) == WIDTHS for by_width in table.scores.values())
    assert (table.metric, table.loss, table.rounding) == ("sigma", "weight histogram KL", "nearest")
    assert (table.samples, table.float_loss) == (0, 0)
    assert table == sigma_scores(network)
    assert table.inputs != sigma_scores(nets.captured("resnet")).inputs
    table.save(tmp_path / "scores.json")
    assert SensitivityTable.load(tmp_path / "scores.json") == table


def test_deviations_are_scaled_by_the_fan_in() -> None:
    network = nets.captured("mobilenet")
    for layer, sigma in weight_sigmas(network).items():
        weight = layer_weight(network, network.layer_nodes()[layer][0]).detach()
        fan_in = math.prod(weight.shape[1:])
        assert sigma == pytest.approx(float(weight.numpy().std()) * math.sqrt(fan_in), rel=1e-5)


def test_a_layer_of_gain_one_has_deviation_one_whatever_its_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    for fan_in in (9, 64, 576):
        weight = torch.randn(400, fan_in, generator=generator) / math.sqrt(fan_in)
        gain = (weight @ torch.randn(fan_in, 400, generator=generator)).std()
        assert float(weight.std()) * math.sqrt(fan_in) == pytest.approx(float(gain), rel=0.05)


def test_fewer_bits_change_the_histogram_more() -> None:
    weight = torch.randn(32, 144, generator=torch.Generator().manual_seed(0))
    found = list(histogram_divergences(weight).values())
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.01 < 0.5 < found[0]


def test_the_scale_of_a_channel_does_not_matter() -> None:
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    scaled = weight * torch.logspace(-3, 3, 16)[:, None, None, None]
    assert histogram_divergences(scaled) == pytest.approx(histogram_divergences(weight), abs=1e-3)


def test_weights_on_the_grid_are_not_changed() -> None:
    levels = torch.arange(-8, 8).repeat(3, 1).float()
    found = histogram_divergences(levels)
    assert found[4] == pytest.approx(0, abs=1e-12)
    assert found[3] > 0.1


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_constant_channels(value: float) -> None:
    found = histogram_divergences(torch.full((4, 9), value))
    assert all(0 <= divergence < 1e-6 for divergence in found.values())
