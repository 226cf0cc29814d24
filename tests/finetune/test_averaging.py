from __future__ import annotations

import pytest
import torch

from sigmaquant.finetune.averaging import WeightAverage
from sigmaquant.quantized import QuantizedNetwork
from tests import nets


def student() -> QuantizedNetwork:
    return nets.quantized("mlp", 4).copy()


def shift(network: QuantizedNetwork, by: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by)


def first_weight(network: QuantizedNetwork) -> float:
    return float(next(iter(network.parameters())).detach().flatten()[0])


def test_the_decay_grows_with_the_steps() -> None:
    network = student()
    average = WeightAverage(network)
    expected = first_weight(network)
    for step in range(1, 6):
        shift(network, 0.01 * step)
        average.update()
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * first_weight(network)
    with average.applied():
        assert first_weight(network) == pytest.approx(expected, rel=1e-6)


def test_the_weights_come_back_as_they_were() -> None:
    network = student()
    average = WeightAverage(network)
    shift(network, 0.01)
    average.update()
    before = network.state()
    with average.applied():
        assert any(not torch.equal(v, before[n]) for n, v in network.state().items())
    assert all(torch.equal(v, before[n]) for n, v in network.state().items())


def test_an_average_that_was_kept_goes_on_exactly() -> None:
    network = student()
    kept, anew = WeightAverage(network), WeightAverage(network)
    for _ in range(3):
        shift(network, 0.01)
        kept.update()
    anew.load_state_dict(kept.state_dict())
    shift(network, 0.02)
    for average in (kept, anew):
        average.update()
    with kept.applied():
        expected = network.state()
    with anew.applied():
        assert all(torch.equal(v, expected[n]) for n, v in network.state().items())


def test_averaged_scales_leave_biases_in_int32() -> None:
    network = student()
    average = WeightAverage(network)
    layer = next(iter(network.network.layer_nodes()))
    with torch.no_grad():
        network.weight_quantizer(layer).scale.fill_(1e-30)
        network.bias(layer).fill_(100.0)
    for _ in range(200):
        average.update()
    with average.applied():
        scales = network.weight_quantizer(layer).scale.detach()
        largest = max(
            network.activation_quantizer(group).encoding().scale
            for group in network.network.table.groups
        )
        assert 100.0 / (float(scales.min()) * largest) < 2**31
