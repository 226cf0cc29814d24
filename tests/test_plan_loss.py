"""Plans measured on held-back data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sigmaquant as sq
from sigmaquant.calibration import read_batches
from sigmaquant.calibration.ranges import group_histograms
from sigmaquant.divergence import divergence
from sigmaquant.errors import ConfigError
from sigmaquant.plan_loss import plan_measure
from sigmaquant.quantized import post_training
from tests import nets

NETWORK = nets.captured("mlp")
KEPT = read_batches(nets.loader("mlp"), NETWORK)
HELD = read_batches([nets.samples("mlp", 5, seed=9), nets.samples("mlp", 3, seed=10)], NETWORK)


def plan(bits: int) -> sq.BitPlan:
    return sq.BitPlan.uniform(NETWORK.table, bits)


def test_every_held_back_sample_has_its_loss() -> None:
    losses = plan_measure(NETWORK, KEPT, HELD)(plan(3))
    quantized = sq.quantize(NETWORK, plan(3), KEPT)
    with torch.no_grad():
        expected = [divergence(NETWORK(*b.inputs), (quantized(*b.inputs),)) for b in HELD]
    assert isinstance(losses, np.ndarray)
    assert losses.shape == (8,)
    assert losses == pytest.approx(torch.cat(expected).numpy())


def test_the_ranges_are_observed_once_for_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []

    def counted(network: sq.Network, batches: Any) -> Any:
        passes.append(len(batches))
        return group_histograms(network, batches)

    monkeypatch.setattr(post_training, "group_histograms", counted)
    measure = plan_measure(NETWORK, KEPT, HELD)
    again = [measure(plan(bits)) for bits in (2, 3, 2)]
    assert len(passes) == 1
    assert np.array_equal(again[0], again[2])
    assert np.array_equal(again[1], plan_measure(NETWORK, KEPT, HELD)(plan(3)))


def test_fewer_bits_lose_more() -> None:
    measure = plan_measure(NETWORK, KEPT, HELD)
    assert np.mean(measure(plan(2))) > np.mean(measure(plan(8)))


def test_the_rounding_is_the_one_asked_for() -> None:
    nearest = plan_measure(NETWORK, KEPT, HELD, rounding="nearest")(plan(3))
    assert not np.allclose(nearest, plan_measure(NETWORK, KEPT, HELD)(plan(3)))
    with pytest.raises(ConfigError, match="unknown rounding 'up'"):
        plan_measure(NETWORK, KEPT, HELD, rounding="up")(plan(3))


def batch_mean(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
    return outputs[0].mean()


def test_of_a_users_loss_only_the_mean_is_known() -> None:
    loss = plan_measure(NETWORK, KEPT, HELD, loss=batch_mean)(plan(4))
    quantized = sq.quantize(NETWORK, plan(4), KEPT)
    with torch.no_grad():
        means = [float(quantized(*batch.inputs).mean()) for batch in HELD]
    assert loss == pytest.approx((5 * means[0] + 3 * means[1]) / 8)


@pytest.mark.parametrize("strategy", ["exact", "sigma", "refine"])
def test_solve_measures_on_a_quarter_of_the_data(strategy: str) -> None:
    scores = sq.score(NETWORK, nets.loader("mlp"))
    budget = sq.Budget(flash=200)
    found = sq.solve(
        NETWORK,
        scores,
        device="cortex-m7",
        budget=budget,
        strategy=strategy,
        calibration=nets.loader("mlp"),
    )
    assert found.totals["flash_bytes"] <= 200
    assert {row.basis for row in found.comparison} == {"measured"}
    losses = [row.loss for row in found.comparison if row.loss is not None]
    (taken,) = (row.loss for row in found.comparison if row.chosen)
    assert taken == min(losses)
    if found.refinement is not None:
        assert found.refinement.loss_after is not None
        assert found.refinement.loss_before is not None
        assert found.refinement.loss_after <= found.refinement.loss_before


def test_what_a_search_cannot_measure_is_said() -> None:
    scores = sq.score(NETWORK, nets.loader("mlp"))
    options = {"device": "cortex-m7", "budget": sq.Budget(flash=200)}
    with pytest.raises(ConfigError, match="takes the network itself, not its layer table"):
        sq.solve(NETWORK.table, scores, calibration=nets.loader("mlp"), **options)
    with pytest.raises(ConfigError, match="give calibration data or a measure"):
        sq.search(NETWORK, scores, strategy="refine", **options)
    with pytest.raises(ConfigError, match="unknown rounding 'up'"):
        sq.search(NETWORK, scores, rounding="up", **options)
