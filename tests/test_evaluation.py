"""What a report says of a network's quality, whatever form its results have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigmaquant.calibration import Batch
from sigmaquant.evaluation import cross_entropy_of_probabilities, evaluate_states, float_run
from sigmaquant.network import capture
from sigmaquant.network.outputs import gives_probabilities


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def loss_of(model: nn.Module, sizes: tuple[int, ...] = (20,)) -> float:
    """The cross entropy that is reported for the float network."""
    torch.manual_seed(1)
    inputs, labels = torch.randn(20, 6), torch.randint(4, (20,))
    network = capture(model, torch.zeros(2, 6))
    parts = zip(inputs.split(list(sizes)), labels.split(list(sizes)), strict=True)
    batches = [Batch((x,), y) for x, y in parts]
    evaluation = evaluate_states(network, {"float": float_run(network)}, lambda: batches)
    (found,) = [row.value for row in evaluation.quality if row.metric == "loss"]
    return found


@pytest.mark.parametrize(
    "ending",
    [nn.Softmax(1), nn.Softmax(-1), nn.Sequential(nn.Softmax(1), nn.Unflatten(1, (4,)))],
)
@pytest.mark.parametrize("sizes", [(20,), (1, 19), (7, 7, 6)])
def test_probabilities_and_logits_have_one_cross_entropy(
    ending: nn.Module, sizes: tuple[int, ...]
) -> None:
    expected = loss_of(layers())
    assert loss_of(nn.Sequential(layers(), ending), sizes) == pytest.approx(expected, rel=1e-5)


def test_the_graph_tells_and_not_the_values() -> None:
    example = torch.zeros(2, 6)
    assert gives_probabilities(capture(nn.Sequential(layers(), nn.Softmax(1)), example))
    assert not gives_probabilities(capture(layers(), example))
    assert not gives_probabilities(capture(nn.Sequential(layers(), nn.Sigmoid()), example))
    inside = nn.Sequential(layers(), nn.Softmax(1), nn.Linear(4, 4))
    assert not gives_probabilities(capture(inside, example))


def test_a_probability_of_zero_stays_finite() -> None:
    output, target = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    assert 20 < cross_entropy_of_probabilities(output, target).item() < 30
