from __future__ import annotations

import pytest
import torch
from scipy import stats
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional

from sigmaquant.calibration import Batch, read_batches
from sigmaquant.divergence import Distillation
from sigmaquant.layers import WIDTHS
from sigmaquant.network import Network, capture
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.runner import call
from sigmaquant.quantizers import fake_quantize
from sigmaquant.sensitivity import score, taylor
from sigmaquant.sensitivity.candidates import (
    Candidate,
    Candidates,
    activation_candidates,
    layer_weight,
    weight_candidates,
)
from sigmaquant.sensitivity.loss import LossMetric
from sigmaquant.sensitivity.taylor import TaylorMetric
from tests import nets


def nothing() -> None:
    pass


def small_step(network: Network, size: float) -> Candidates:
    """One candidate: the only layer, moved a little in a random direction."""
    ((layer, (node,)),) = network.layer_nodes().items()
    weight = layer_weight(network, node)
    generator = torch.Generator().manual_seed(1)
    moved = weight + size * torch.randn(weight.shape, generator=generator)
    shift = size * torch.randn(len(weight), generator=generator)
    return Candidates({layer: {2: Candidate(moved.detach(), shift, torch.tensor(1.0))}}, {})


def mean_rise(
    metric: LossMetric | TaylorMetric, network: Network, x: Tensor, size: float, seed: int = 0
) -> float:
    candidates = small_step(network, size)
    rises = metric.rises(network, Batch((x,)), candidates, None, seed, nothing)
    ((by_width),) = rises.weights.values()
    return float(by_width[2].mean())


def linear_network(model: nn.Module) -> tuple[Network, Tensor]:
    x = torch.randn(4096, 5, generator=torch.Generator().manual_seed(0))
    return capture(model.eval(), x[:2]), x


def test_for_a_linear_layer_and_softmax_it_is_the_divergence_of_a_small_step() -> None:
    torch.manual_seed(0)
    network, x = linear_network(nn.Sequential(nn.Linear(5, 4), nn.Softmax(dim=1)))
    exact = mean_rise(LossMetric(), network, x, 0.005)
    estimates = [mean_rise(TaylorMetric(), network, x, 0.005, seed) for seed in range(8)]
    assert sum(estimates) / 8 == pytest.approx(exact, rel=0.04)


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_for_a_linear_regression_it_is_exact_whatever_the_step(size: float) -> None:
    torch.manual_seed(1)
    network, x = linear_network(nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (2, 3))))
    exact = mean_rise(LossMetric(), network, x, size)
    estimates = [mean_rise(TaylorMetric(), network, x, size, seed) for seed in range(8)]
    assert sum(estimates) / 8 == pytest.approx(exact, rel=0.03)


def total(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
    """A loss that needs no random draw."""
    return torch.stack([(y * y + y).sum() / len(y) for y in outputs]).sum()


class TwoHeads(nn.Module):
    """One layer, whose results are boxes and scores by turns, as a detector's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x).reshape(-1, 2, 4)
        return found


def sure_boxes(outputs: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The first half weighted with the float network's scores, and the scores."""
    boxes, scores = outputs[0].split(2, dim=2)
    weights = reference[0][..., 2:].sigmoid()
    return (boxes * weights, scores.sigmoid())


def test_of_a_view_it_is_the_divergence_of_a_small_step() -> None:
    torch.manual_seed(0)
    network, x = linear_network(TwoHeads())
    candidates, batch, loss = small_step(network, 0.005), Batch((x,)), Distillation(sure_boxes)
    means = []
    for metric in (LossMetric(), TaylorMetric()):
        rises = metric.rises(network, batch, candidates, loss, 0, nothing)
        assert rises.independent == len(x)
        means.append(float(rises.weights["layer"][2].mean()))
    exact, expanded = means
    assert expanded == pytest.approx(exact, rel=0.1)
    assert exact != pytest.approx(mean_rise(LossMetric(), network, x, 0.005), rel=0.1)


@pytest.mark.parametrize(
    "name", ["resnet", "mobilenet", "shuffle", "conv1d", "attention", "tied", "unknown", "decoder"]
)
@pytest.mark.parametrize("elements", [2**26, 1])
def test_changes_are_gradients_times_changes_of_the_layers_outputs(
    name: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taylor, "_GRADIENT_ELEMENTS", elements)
    network = nets.captured(name)
    (batch,) = read_batches([nets.samples(name)], network)
    (candidates,) = weight_candidates(network, [batch], "compensated")
    encodings = activation_candidates(network, [batch], (2, 8))
    rises = TaylorMetric().rises(
        network, batch, Candidates(candidates, encodings), total, 0, nothing
    )

    runner = network.runner()
    leaf = batch.inputs[0].clone().requires_grad_()
    values = runner.values((leaf, *batch.inputs[1:]))
    loss = total(runner.outputs(values), None) * len(batch)
    for layer, calls in network.layer_nodes().items():
        gradients = torch.autograd.grad(loss, [values[c] for c in calls], retain_graph=True)
        for bits in (2, 8):
            candidate = candidates[layer][bits]
            change = torch.zeros(len(batch))
            for node, gradient in zip(calls, gradients, strict=True):
                _, weight, bias, *_ = arguments_of(node)
                moved = {weight: candidate.weight, bias: values[bias] + candidate.bias_shift}
                dz = call(node, {**values, **moved}) - values[node]
                change += (gradient * dz).detach().flatten(1).sum(1)
            expected = 0.5 * change.square()
            assert torch.allclose(rises.weights[layer][bits], expected, rtol=2e-3, atol=1e-7)
    groups = network.encodings.groups
    for group, by_width in encodings.items():
        sites = [site for site in network.encodings.sites if groups[site] == group]
        gradients = torch.autograd.grad(
            loss, [values[s] for s in sites], retain_graph=True, allow_unused=True
        )
        for bits, encoding in by_width.items():
            change = torch.zeros(len(batch))
            for site, gradient in zip(sites, gradients, strict=True):
                if gradient is not None:
                    moved = fake_quantize(values[site].detach(), encoding) - values[site].detach()
                    change += (gradient * moved).flatten(1).sum(1)
            expected = 0.5 * change.square()
            assert torch.allclose(rises.activations[group][bits], expected, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("rounding", ["compensated", "nearest", "coded"])
def test_it_ranks_layers_and_widths_as_the_loss_does(rounding: str, trained) -> None:
    data = [trained.images[i : i + 128] for i in range(0, 1024, 128)]
    tables = [
        score(trained.network, data, metric=metric, rounding=rounding)
        for metric in ("loss", "taylor")
    ]
    rises = [
        [table.rise(layer, bits) for layer in table.scores for bits in WIDTHS] for table in tables
    ]
    assert stats.spearmanr(*rises).statistic > 0.96


@pytest.fixture(scope="module")
def autoencoder() -> tuple[Network, Tensor]:
    """Has learned to draw digits again, the last layers by transposed convolutions."""
    pixels, _ = datasets.load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=4),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 1),
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(120):
            rows = torch.randperm(1200, generator=torch.Generator().manual_seed(step))[:128]
            optimizer.zero_grad()
            functional.mse_loss(model(x[rows]), x[rows]).backward()
            optimizer.step()
    return capture(model.eval(), x[:2]), x


def test_it_ranks_transposed_convolutions_as_the_loss_does(autoencoder) -> None:
    network, images = autoencoder
    data = [images[i : i + 128] for i in range(0, 1024, 128)]
    tables = [score(network, data, metric=metric) for metric in ("loss", "taylor")]
    assert list(tables[0].scores) == ["0", "2", "4", "7", "9"]
    rises = [
        [table.rise(layer, bits) for layer in table.scores for bits in WIDTHS] for table in tables
    ]
    assert stats.spearmanr(*rises).statistic > 0.96


def test_it_ranks_activations_as_the_loss_does(trained) -> None:
    data = [trained.images[i : i + 128] for i in range(0, 1024, 128)]
    tables = [
        score(trained.network, data, metric=metric, activation_widths=(2, 3, 4, 5))
        for metric in ("loss", "taylor")
    ]
    groups = tables[0].activation_scores
    assert list(groups) == list(trained.network.table.groups)
    assert all(tuple(by_width) == (2, 3, 4, 5) for by_width in groups.values())
    rises = [
        [found.rise for by_width in table.activation_scores.values() for found in by_width.values()]
        for table in tables
    ]
    # Five groups only, and a first-order estimate of 2-bit errors.
    assert stats.spearmanr(*rises).statistic > 0.8


def test_it_ranks_the_inputs_of_matrix_products_as_the_loss_does() -> None:
    data = nets.loader("attention", 16)
    tables = [
        score(nets.captured("attention"), data, metric=metric, activation_widths=(2, 3, 4))
        for metric in ("loss", "taylor")
    ]
    products = ("q", "k", "v", "matmul", "softmax", "matmul_2")
    rises = [
        [found.rise for group in products for found in table.activation_scores[group].values()]
        for table in tables
    ]
    assert stats.spearmanr(*rises).statistic > 0.8


def test_draws_depend_on_the_seed_alone(trained) -> None:
    data = [trained.images[:32]]
    scores = [score(trained.network, data, metric="taylor", seed=s).scores for s in (0, 0, 1)]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]
