from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.budget import Budget
from sigmaquant.errors import ConfigError, InfeasibleError
from sigmaquant.search import Exact, Refine, Solution
from sigmaquant.search.moves import promising_moves


def measured(losses):
    """A measure from {(bits, ...): loss}."""
    return lambda plan: losses.get(tuple(plan.weight_bits.values()), 9.0)


def bits(found):
    return tuple(found.plan.weight_bits.values())


def test_a_move_that_measures_better_is_kept(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    assert bits(Exact().solve(asked)) == (8, 4)
    found = Refine().solve(asked, measured({(8, 4): 0.5, (4, 4): 0.3}))
    assert bits(found) == (4, 4)
    assert (found.strategy, found.plan.origin, found.status) == ("refine", "refine", "feasible")
    assert found.objective == pytest.approx(0.3)
    assert found.totals["flash_bytes"] == 440
    record = found.refinement
    assert (record.loss_before, record.loss_after, record.kept) == (0.5, 0.3, 1)
    assert record.standard_error is None
    # Within 480 B, (8, 4) has three neighbours, and (4, 4) one more.
    assert record.measurements == 5


def test_the_gap_speaks_of_the_scores(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    found = Refine().solve(asked, measured({(8, 4): 0.5, (4, 4): 0.3}))
    assert found.gap == pytest.approx((0.3 - 0.1) / 0.3)
    assert Refine().solve(asked, lambda plan: 1.0).gap == 0


def test_another_answer_can_be_improved_too(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    fours = asked.choices.index({"fragile": 4, "robust": 4})
    start = Exact().solve(asked).model_copy(update={"plan": asked.plan(fours, "by hand")})
    found = Refine().improved(asked, start, measured({(4, 4): 0.5, (8, 2): 0.3}), strategy="more")
    assert bits(found) == (8, 2)
    assert (found.strategy, found.plan.origin, found.refinement.kept) == ("more", "more", 1)
    assert asked.fits(found.plan)
    assert found.seconds >= start.seconds


def test_an_improvement_within_noise_is_not_kept(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    noise = np.array([0.1, -0.1, 0.1, -0.1])

    def measure(plan):
        gain = {(8, 4): 0.0, (4, 4): 0.05, (2, 4): 0.2}.get(tuple(plan.weight_bits.values()), -9.0)
        return 1.0 - gain + (0.0 if gain == 0 else noise)

    found = Refine().solve(asked, measure)
    assert bits(found) == (2, 4)  # 0.2 +- 0.06; the move to 4 bits gained 0.05 +- 0.06
    assert found.refinement.kept == 1
    assert found.refinement.standard_error == pytest.approx(0.0577, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "measurements"),
    [({"measurements": 1}, 1), ({"measurements": 3}, 3), ({"patience": 2}, 3), ({}, 4)],
)
def test_it_ends_after_so_many_measurements_or_so_many_in_vain(
    tables, two_layers, options, measurements
):
    asked = tables.problem(two_layers, Budget(flash=480))
    found = Refine(**options).solve(asked, lambda plan: 1.0)
    assert found.refinement.measurements == measurements
    assert bits(found) == (8, 4)


def test_a_gain_renews_the_patience(tables, two_layers):
    asked = tables.problem(two_layers)
    descending = {(8, 8): 5.0, (8, 4): 4.0, (4, 4): 3.0, (4, 2): 2.0, (2, 2): 1.0}
    assert bits(Refine(patience=3).solve(asked, measured(descending))) == (2, 2)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_start_that_is_not_finite_is_left(tables, two_layers, broken, tmp_path):
    asked = tables.problem(two_layers, Budget(flash=480))
    found = Refine().solve(asked, measured({(8, 4): broken, (8, 2): 1.0}))
    assert bits(found) == (8, 2)
    assert (found.refinement.loss_before, found.refinement.loss_after) == (None, 1.0)
    found.save(tmp_path / "solution.json")
    assert Solution.load(tmp_path / "solution.json") == found


def test_errors(tables, two_layers):
    with pytest.raises(ConfigError, match="nothing to measure them with: give calibration data"):
        Refine().solve(tables.problem(two_layers))
    with pytest.raises(InfeasibleError, match="raise flash to 220 B"):
        Refine().solve(tables.problem(two_layers, Budget(flash=100)), lambda plan: 1.0)


@given(data=st.data(), seed=st.integers(0, 9))
def test_it_never_measures_worse_than_its_start_and_keeps_the_budget(
    tables, small_problems, data, seed
):
    asked = data.draw(small_problems)
    if tables.brute_force(asked) is None:
        return
    losses = {
        plan.model_dump_json(exclude={"origin"}): np.random.default_rng([seed, at]).random(3)
        for at, plan in enumerate(tables.every_plan(asked))
    }

    def measure(plan):
        return losses[plan.model_dump_json(exclude={"origin"})]

    start, found = Exact().solve(asked), Refine().solve(asked, measure)
    assert asked.fits(found.plan)
    assert measure(found.plan).mean() <= measure(start.plan).mean()
    assert found.refinement.loss_before == pytest.approx(measure(start.plan).mean())
    assert found.refinement.loss_after == pytest.approx(measure(found.plan).mean())


@given(data=st.data())
def test_where_losses_add_up_as_scored_there_is_nothing_to_gain(tables, small_problems, data):
    asked = data.draw(small_problems)
    best = tables.brute_force(asked)
    if best is not None:
        found = Refine().solve(asked, tables.by_score(asked))
        assert found.objective == pytest.approx(best, abs=1e-9)
        assert found.refinement.kept == 0


@given(data=st.data(), seed=st.integers(0, 9))
def test_with_patience_no_neighbour_of_the_answer_measures_better(
    tables, small_problems, data, seed
):
    asked = data.draw(small_problems)
    if tables.brute_force(asked) is None:
        return
    plans = [tuple(plan.weight_bits.values()) for plan in tables.every_plan(asked)]
    losses = dict(zip(plans, np.random.default_rng(seed).random(len(plans)), strict=True))
    found = Refine(measurements=999, patience=999).solve(asked, measured(losses))
    for move in promising_moves(asked, asked.choices.index(found.plan.weight_bits)):
        assert losses[tuple(asked.choices.weight_bits[move])] >= losses[bits(found)]
