from __future__ import annotations

import copy
import sys

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.nn import functional as F

from sigmaquant.calibration import read_batches
from sigmaquant.divergence import divergence
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.quantizers import fake_quantize, level_bounds, nearest_levels, weight_scales
from sigmaquant.sensitivity import score
from sigmaquant.sensitivity.candidates import activation_candidates, weight_candidates
from tests import nets


@pytest.fixture
def in_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score on the samples that the rounding saw, so that a layer has one candidate a width."""
    monkeypatch.setattr(sys.modules[score.__module__], "_FOLDS", 1)


def outputs_of(module: GraphModule, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return nets.flat(module(*inputs))


@pytest.mark.usefixtures("in_sample")
@pytest.mark.parametrize("name", ["resnet", "attention", "tied", "multi_output", "fixed_batch"])
def test_scores_are_what_a_copy_with_one_layer_changed_loses(name: str) -> None:
    network = nets.captured(name)
    data = nets.loader(name)
    (candidates,) = weight_candidates(network, read_batches(data, network), "compensated")
    table = score(network, data, metric="loss")
    for layer, calls in network.layer_nodes().items():
        for bits in (2, 5):
            changed = copy.deepcopy(network.module)
            candidate = candidates[layer][bits]
            tensor_of(changed, arguments_of(calls[0])[1]).data = candidate.weight.clone()
            for bias in {arguments_of(call)[2].target for call in calls}:
                tensor_of(changed, bias).data += candidate.bias_shift
            losses = torch.cat(
                [divergence(network(*inputs), outputs_of(changed, inputs)) for inputs in data]
            )
            found = table.scores[layer][bits]
            assert found.rise == pytest.approx(float(losses.mean()), rel=1e-4, abs=1e-7)
            spread = float(losses.std()) / len(losses) ** 0.5
            assert found.standard_error == pytest.approx(spread, rel=1e-3, abs=1e-7)


def test_nearest_rounding_by_hand() -> None:
    """A linear layer, rounded, its bias moved by the mean error: all written out."""
    network, data = nets.captured("mlp"), nets.loader("mlp")
    table = score(network, data, metric="loss", rounding="nearest")
    x = torch.cat([inputs[0] for inputs in data])
    w1, b1, w2, b2 = (
        tensor_of(network.module, name).detach()
        for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
    )
    exact = torch.relu(x @ w1.T + b1) @ w2.T + b2
    scales = weight_scales(w1, 3)
    rounded = nearest_levels(w1, scales, *level_bounds(3)) * scales
    shift = (x @ (w1 - rounded).T).mean(0)
    hidden = torch.relu(x @ rounded.T + b1 + shift)
    losses = divergence([exact], [hidden @ w2.T + b2])
    assert table.rise("hidden", 3) == pytest.approx(float(losses.mean()), rel=1e-4)


@pytest.mark.usefixtures("in_sample")
def test_a_users_loss_with_labels() -> None:
    network = nets.captured("mlp")
    labels = torch.tensor([0, 1, 2, 3])
    data = [(*inputs, labels) for inputs in nets.loader("mlp")]

    def cross_entropy(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
        assert target is not None
        return F.cross_entropy(outputs[0], target)

    table = score(network, data, metric="loss", loss=cross_entropy)
    (candidates,) = weight_candidates(network, read_batches(data, network), "compensated")
    before = [float(F.cross_entropy(network(x)[0], y)) for x, y in data]
    assert table.float_loss == pytest.approx(sum(before) / len(before), rel=1e-5)
    assert table.loss.endswith("cross_entropy")
    changed = copy.deepcopy(network.module)
    changed.get_parameter("out.weight").data = candidates["out"][2].weight.clone()
    changed.get_parameter("out.bias").data += candidates["out"][2].bias_shift
    after = [float(F.cross_entropy(outputs_of(changed, (x,))[0], y)) for x, y in data]
    expected = (sum(after) - sum(before)) / len(data)
    assert table.rise("out", 2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["resnet", "shuffle", "attention", "multi_output"])
def test_activation_scores_are_what_fake_quantizing_one_group_loses(name: str) -> None:
    network, data = nets.captured(name), nets.loader(name)
    table = score(network, data, metric="loss", activation_widths=(8, 2))
    encodings = activation_candidates(network, read_batches(data, network), (2, 8))
    groups = network.encodings.groups
    assert list(table.activation_scores) == list(network.table.groups)
    for group, by_width in table.activation_scores.items():
        assert tuple(by_width) == (2, 8)
        sites = {site for site in network.encodings.sites if groups[site] == group}
        for bits, found in by_width.items():
            encoding = encodings[group][bits]

            def quantized(node: Node, value: Tensor) -> Tensor:
                return fake_quantize(value, encoding) if node in sites else value  # noqa: B023

            losses = []
            for inputs in data:
                with torch.no_grad():
                    outputs = network.runner().watch(inputs, quantized)
                losses.append(divergence(network(*inputs), outputs))
            assert found.rise == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4, abs=1e-7)
