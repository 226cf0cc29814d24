from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sigmaquant.bitplan import BitPlan
from sigmaquant.divergence import divergence
from sigmaquant.errors import ArtifactError, ConfigError, DataError, ModelError, OutputError
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering import lower
from sigmaquant.network import capture
from sigmaquant.quantized import quantize
from sigmaquant.sensitivity import METRICS, SensitivityTable, score
from sigmaquant.sensitivity.accumulate import BatchRises, Sums, Totals
from tests import nets


def squares(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
    return outputs[0].square().mean()


class Interrupted:
    """A loss that fails at a certain call, as a killed run would end."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return squares(outputs, target)


@pytest.mark.parametrize("metric", METRICS)
def test_a_table_holds_every_layer_and_width(metric: str, tmp_path: Path) -> None:
    network, data = nets.captured("resnet"), nets.loader("resnet")
    table = score(network, data, metric=metric, seed=3)
    assert list(table.scores) == [layer.name for layer in network.table.layers]
    assert all(tuple(by_width) == WIDTHS for by_width in table.scores.values())
    assert (table.metric, table.loss, table.rounding) == (metric, "divergence", "compensated")
    assert (table.samples, table.seed, table.float_loss) == (16, 3, 0)
    assert all(
        s.standard_error > 0 for by_width in table.scores.values() for s in by_width.values()
    )
    for by_width in table.entropy_bits.values():
        assert all(0 < entropy <= bits for bits, entropy in by_width.items())
    table.save(tmp_path / "scores.json")
    assert SensitivityTable.load(tmp_path / "scores.json") == table


@pytest.mark.parametrize("rounding", ["compensated", "coded"])
def test_entropies_are_those_of_the_rounded_layers(rounding: str) -> None:
    network, data = nets.captured("resnet"), nets.loader("resnet")
    table = score(network, data, rounding=rounding)
    assert table.rounding == rounding
    for bits in (3, 5, 8):
        plan = BitPlan.uniform(network.table, bits)
        first, *_ = lower(quantize(network, plan, data, rounding=rounding)).weights
        _, counts = np.unique(first.values, return_counts=True)
        expected = -float((counts * np.log2(counts / first.values.size)).sum()) / first.values.size
        # The first layer's inputs are the same when all layers are quantized.
        assert table.entropy_bits[first.layer][bits] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_a_killed_run_goes_on_where_it_stopped(metric: str, tmp_path: Path) -> None:
    network, data = nets.captured("mlp"), nets.loader("mlp")
    checkpoint = tmp_path / "scores.partial"
    uninterrupted = score(network, data, metric=metric, loss=Interrupted(1000))
    # Calls of the loss a batch: the float outputs, then the gradient or each candidate.
    a_batch = 1 + (len(WIDTHS) * 2 if metric == "loss" else 1)
    with pytest.raises(KeyboardInterrupt):
        score(
            network, data, metric=metric, loss=Interrupted(2 * a_batch + 1), checkpoint=checkpoint
        )
    assert Sums.load(checkpoint).batches == 2
    remaining = Interrupted(2 * a_batch)
    resumed = score(network, data, metric=metric, loss=remaining, checkpoint=checkpoint)
    assert remaining.left == 0
    assert resumed == uninterrupted
    assert not checkpoint.exists()


def test_a_checkpoint_of_other_work_is_not_taken_up(tmp_path: Path) -> None:
    network, data = nets.captured("mlp"), nets.loader("mlp")
    checkpoint = tmp_path / "scores.partial"
    expected = score(network, data, rounding="nearest")
    with pytest.raises(KeyboardInterrupt):
        score(network, data, metric="loss", loss=Interrupted(20), checkpoint=checkpoint)
    assert score(network, data, rounding="nearest", checkpoint=checkpoint) == expected


def test_a_checkpoint_of_the_same_samples_in_other_batches_is_not_taken_up(tmp_path: Path) -> None:
    network, data = nets.captured("mlp"), list(nets.loader("mlp"))
    smaller = [(part,) for (inputs,) in data for part in inputs.split(2)]
    checkpoint = tmp_path / "scores.partial"
    expected = score(network, smaller, metric="loss", loss=Interrupted(1000))
    with pytest.raises(KeyboardInterrupt):
        score(network, data, metric="loss", loss=Interrupted(20), checkpoint=checkpoint)
    loss = Interrupted(1000)
    assert score(network, smaller, metric="loss", loss=loss, checkpoint=checkpoint) == expected


def test_means_and_standard_errors() -> None:
    values = torch.tensor([0.5, 1.0, 4.0, 2.0, 0.25])
    sums = Sums(inputs="")
    for part in values.split(2):
        once, twice, losses = {"a": {2: part}}, {"g": {4: 2 * part}}, torch.ones(len(part))
        sums += Sums.of(BatchRises(once, twice, losses, independent=len(part)), inputs="")
    (found,) = sums.weights.scores(sums.samples, sums.independent)["a"].values()
    (doubled,) = sums.activations.scores(sums.samples, sums.independent)["g"].values()
    assert doubled.rise == pytest.approx(2 * found.rise)
    assert (sums.samples, sums.batches, sums.float_loss) == (5, 3, 5.0)
    assert found.rise == pytest.approx(float(values.mean()))
    assert found.standard_error == pytest.approx(float(values.std()) / 5**0.5)


def test_one_sample_has_no_spread() -> None:
    totals = Totals.of({"a": {2: torch.ones(1)}})
    assert totals.scores(1, 1)["a"][2].standard_error == 0


def test_a_users_loss_is_known_once_a_batch_however_large() -> None:
    network, data = nets.captured("mlp"), nets.loader("mlp")
    doubled = [(torch.cat([inputs, inputs]),) for (inputs,) in data]
    tables = [
        score(network, batches, metric="loss", rounding="nearest", loss=squares)
        for batches in (data, doubled)
    ]
    for layer, by_width in tables[0].scores.items():
        for bits, found in by_width.items():
            again = tables[1].scores[layer][bits]
            assert again.standard_error == pytest.approx(found.standard_error, rel=1e-3)


def nan_loss(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
    return outputs[0].mean() * torch.nan


@pytest.mark.parametrize("metric", METRICS)
def test_a_loss_that_is_not_finite(metric: str) -> None:
    with pytest.raises(DataError, match="the loss is not finite with hidden at 2 bits"):
        score(nets.captured("mlp"), nets.loader("mlp"), metric=metric, loss=nan_loss)


class Label(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x).argmax(1)


@pytest.mark.parametrize("metric", METRICS)
def test_outputs_that_tell_nothing(metric: str) -> None:
    network = capture(Label(), torch.ones(2, 4))
    with pytest.raises(ModelError, match="without its final argmax"):
        score(network, [torch.ones(2, 4)], metric=metric)


def test_errors(tmp_path: Path) -> None:
    network, data = nets.captured("mlp"), nets.loader("mlp")
    with pytest.raises(ConfigError, match="unknown metric 'lost'; known: taylor, loss, sigma"):
        score(network, data, metric="lost")
    with pytest.raises(ConfigError, match="unknown rounding 'up'; known: compensated, nearest"):
        score(network, data, rounding="up")
    with pytest.raises(ConfigError, match="activations cannot have 9 bits; known: 2, 3"):
        score(network, data, activation_widths=(4, 9))
    with pytest.raises(ConfigError, match="'taylor' needs calibration data"):
        score(network)
    with pytest.raises(DataError, match="gave no samples"):
        score(network, [])
    checkpoint = tmp_path / "scores.partial"
    checkpoint.write_text("{")
    with pytest.raises(ArtifactError, match="is not a Sums"):
        score(network, data, checkpoint=checkpoint)
    with pytest.raises(OutputError):
        score(network, data, checkpoint=checkpoint / "below")


@pytest.mark.parametrize("batch_size", [40, 160])
def test_a_classifier_is_scored_on_samples_that_it_was_not_fitted_to(batch_size: int) -> None:
    """With fewer samples than inputs, error compensation fits what is theirs alone."""
    torch.manual_seed(0)
    network = capture(nn.Linear(256, 10).eval(), torch.zeros(2, 256))
    mixed = torch.randn(256, 256) / 16
    seen, unseen = torch.randn(160, 256) @ mixed, torch.randn(4_000, 256) @ mixed
    data = [(part,) for part in seen.split(batch_size)]
    table = score(network, data, metric="loss")
    for bits in (2, 3, 4):
        quantized = quantize(network, BitPlan.uniform(network.table, bits), data)
        with torch.no_grad():
            fitted, lost = (
                float(divergence(network(x), (quantized(x),)).mean()) for x in (seen, unseen)
            )
        assert fitted < 0.7 * lost
        assert table.rise("weight", bits) == pytest.approx(lost, rel=0.25)
