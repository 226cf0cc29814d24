from __future__ import annotations

import itertools

import numpy as np
import pytest

from sigmaquant.budget import Budget
from sigmaquant.errors import InfeasibleError
from sigmaquant.search import core, exact, feasibility
from sigmaquant.search.core import minimise_from
from sigmaquant.search.integer_program import Answer, Cap, Outcome, minimise


@pytest.fixture
def alike(tables):
    """Twelve layers that each gain 1 for 1 ms."""
    layers = {f"layer{i}": {2: (1.0, 1, 1.0, 1.0), 4: (0.0, 1, 2.0, 1.0)} for i in range(12)}
    return tables.problem(layers)


def test_plans_over_a_limit_by_less_than_the_tolerance_are_not_taken(alike):
    # All 792 plans with five upgrades take 17 ms, which HiGHS cannot tell from the limit.
    cap = Cap(alike.choices.costs["latency_ms"], 17 - 1e-12)
    answer = minimise(alike.choices, alike.rises, [cap], time_limit_seconds=10)
    assert alike.objective(answer.chosen) == 8.0
    start = alike.choices.starts[:-1]
    answer = minimise_from(alike.choices, alike.rises, [cap], start=start, time_limit_seconds=10)
    assert alike.objective(answer.chosen) == 8.0


def test_fixed_costs_count(alike):
    cap = Cap(alike.choices.costs["latency_ms"], limit=20.0, fixed=5.0)
    answer = minimise(alike.choices, alike.rises, [cap], time_limit_seconds=10)
    assert alike.objective(answer.chosen) == 9.0
    assert answer.bound == pytest.approx(9.0)


def test_no_plan_and_no_time_are_two_outcomes(alike):
    cap = Cap(alike.choices.costs["latency_ms"], 11.0)
    answer = minimise(alike.choices, alike.rises, [cap], time_limit_seconds=10)
    assert (answer.outcome, answer.chosen) == (Outcome.INFEASIBLE, None)


@pytest.mark.parametrize("seed", range(5))
def test_ruling_choices_out_does_not_change_the_optimum(tables, seed):
    rng = np.random.default_rng(seed)
    layers = {
        f"layer{at}": {
            bits: (rng.uniform() / bits, int(rng.integers(1, 9) * bits), rng.uniform(1, 2), bits)
            for bits in range(2, 9)
        }
        for at in range(20)
    }
    asked = tables.problem(layers)
    start = asked.choices.smallest(asked.choices.costs["flash_bytes"])
    caps = [
        Cap(values, 0.5 * (values[start].sum() + values.max() * 20))
        for values in asked.choices.costs.values()
    ]
    plain = minimise(asked.choices, asked.rises, caps, time_limit_seconds=10)
    quick = minimise_from(asked.choices, asked.rises, caps, start=start, time_limit_seconds=10)
    assert asked.objective(quick.chosen) == pytest.approx(asked.objective(plain.chosen))
    assert quick.outcome is plain.outcome is Outcome.OPTIMAL
    assert quick.bound <= asked.objective(quick.chosen) + 1e-9


@pytest.mark.parametrize(
    ("outcome", "proof"),
    [(Outcome.STOPPED, Outcome.STOPPED), (Outcome.INFEASIBLE, Outcome.OPTIMAL)],
)
def test_the_start_is_the_answer_where_nothing_else_was_found(alike, monkeypatch, outcome, proof):
    nothing = Answer(outcome, None, -np.inf if outcome is Outcome.STOPPED else np.inf)
    monkeypatch.setattr(core, "minimise", lambda *_, **__: nothing)
    start = alike.choices.starts[:-1]
    answer = minimise_from(alike.choices, alike.rises, [], start=start, time_limit_seconds=1)
    assert answer.chosen.tolist() == start.tolist()
    assert answer.outcome is proof
    assert 0.0 <= answer.bound <= 12.0  # of the relaxation, at least


def test_without_a_bound_there_is_no_gap(tables, two_layers, monkeypatch):
    asked = tables.problem(two_layers)
    stopped = Answer(Outcome.STOPPED, asked.choices.starts[:-1], -np.inf)
    monkeypatch.setattr(exact, "minimise_from", lambda *_, **__: stopped)
    found = exact.Exact().solve(asked)
    assert (found.status, found.gap) == ("unproven", None)


def test_a_fitting_plan_not_found_in_time_is_not_called_impossible(tables, monkeypatch):

    costs = tables.costs({"a": {2: (1, 9.0, 1.0), 4: (4, 4.0, 1.0), 8: (9, 1.0, 1.0)}})
    stopped = Answer(Outcome.STOPPED, None, -np.inf)
    monkeypatch.setattr(feasibility, "minimise", lambda *_, **__: stopped)
    with pytest.raises(InfeasibleError, match="found in 20 s, and none was ruled out"):
        feasibility.check_feasible(costs, Budget(flash=3, latency=3.0))


def test_choices_left_out_keep_their_layers(tables, two_layers):
    choices = tables.problem(two_layers).choices
    for kept in itertools.product((0, 1, 2), (3, 4, 5)):
        some = choices.only(np.array(kept))
        assert some.layers == choices.layers
        assert some.starts.tolist() == [0, 1, 2]
        assert some.bits(np.array([0, 1])) == choices.bits(np.array(kept))
