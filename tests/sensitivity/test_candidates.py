from __future__ import annotations

import pytest
import torch
from torch import nn

from sigmaquant.calibration import Batch, read_batches
from sigmaquant.layers import WIDTHS
from sigmaquant.network import capture
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.runner import call
from sigmaquant.quantizers import level_bounds
from sigmaquant.sensitivity import candidates as candidates_module
from sigmaquant.sensitivity.candidates import layer_weight, weight_candidates
from tests import nets


@pytest.mark.parametrize("rounding", ["nearest", "compensated", "coded"])
@pytest.mark.parametrize("name", ["mobilenet", "conv1d", "shuffle", "attention", "tied"])
def test_candidates_lie_on_their_grid_and_shift_the_bias_by_the_mean_error(
    name: str, rounding: str
) -> None:
    network = nets.captured(name)
    batches = read_batches(nets.loader(name), network)
    (candidates,) = weight_candidates(network, batches, rounding)
    runner = network.runner()
    everything = [runner.values(batch.inputs) for batch in batches]
    assert list(candidates) == [layer.name for layer in network.table.layers]
    for layer, calls in network.layer_nodes().items():
        weight = layer_weight(network, calls[0])
        assert tuple(candidates[layer]) == WIDTHS
        for bits, candidate in candidates[layer].items():
            low, high = level_bounds(bits)
            rows = candidate.weight.flatten(1)
            assert candidate.weight.shape == weight.shape
            assert all(len(row.unique()) <= high - low + 1 for row in rows)
            errors = []
            for values in everything:
                for node in calls:
                    _, weight_node, bias_node, *_ = arguments_of(node)
                    bias = values[bias_node] + candidate.bias_shift
                    changed = {**values, weight_node: candidate.weight, bias_node: bias}
                    error = call(node, changed) - values[node]
                    channel = 1 if "conv" in str(node.target) else -1
                    errors.append(error.movedim(channel, 0).flatten(1))
            mean = torch.cat(errors, dim=1).mean(1)
            assert float(mean.detach().abs().max()) < 1e-5


def test_wider_is_closer() -> None:
    network = nets.captured("resnet")
    (candidates,) = weight_candidates(
        network, read_batches(nets.loader("resnet"), network), "nearest"
    )
    for layer, by_width in candidates.items():
        weight = layer_weight(network, network.layer_nodes()[layer][0])
        errors = [float((c.weight - weight).detach().norm()) for c in by_width.values()]
        assert errors == sorted(errors, reverse=True)


def test_layers_with_few_inputs_do_not_see_the_fold_that_scores_them() -> None:
    """The convolution has a column a place, the classifier one a sample."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 4))
    network = capture(module.eval(), torch.zeros(2, 1, 8, 8))
    batches = [Batch((torch.randn(16, 1, 8, 8),)) for _ in range(5)]
    folds = weight_candidates(network, batches, "compensated", folds=2)
    assert len(folds) == 2
    assert folds[0]["0"] is folds[1]["0"]
    for fold, found in enumerate(folds):
        seen = [batch for i, batch in enumerate(batches) if i % 2 != fold]
        (alone,) = weight_candidates(network, seen, "compensated")
        for bits in WIDTHS:
            assert torch.equal(found["3"][bits].weight, alone["3"][bits].weight)
            torch.testing.assert_close(found["3"][bits].bias_shift, alone["3"][bits].bias_shift)


def test_large_layers_are_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates_module, "_LARGEST_CROSS_FITTED", 575 * 4)
    network = capture(nn.Linear(576, 4).eval(), torch.zeros(2, 576))
    folds = weight_candidates(network, [Batch((torch.randn(8, 576),))] * 2, "compensated", folds=2)
    assert folds[0] == folds[1]
