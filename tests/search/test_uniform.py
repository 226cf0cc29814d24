from __future__ import annotations

import math

import pytest

from sigmaquant.budget import Budget
from sigmaquant.errors import DeviceError
from sigmaquant.search import Exact, Greedy, least, never_worse_than_uniform, uniform_plans

COST = (10, 1.0, 1.0)


def test_one_plan_for_each_width(tables):
    costs = tables.costs({name: dict.fromkeys((2, 4, 8), COST) for name in "ab"})
    plans = uniform_plans(costs)
    assert [plan.origin for plan in plans] == ["uniform 2", "uniform 4", "uniform 8"]
    assert [plan.weight_bits for plan in plans] == [{"a": b, "b": b} for b in (2, 4, 8)]
    assert plans[0].activation_bits == {"a": 8}


def test_a_layer_without_the_width_gets_the_next_wider_or_its_widest(tables):
    widths = {"a": (2, 4, 8), "b": (8,), "c": (2, 3)}
    costs = tables.costs({name: dict.fromkeys(has, COST) for name, has in widths.items()})
    assert [(p.origin, tuple(p.weight_bits.values())) for p in uniform_plans(costs)] == [
        ("uniform 2", (2, 8, 2)),
        ("uniform 3", (4, 8, 3)),
        ("uniform 8", (8, 8, 3)),
    ]


def test_an_activation_width_that_is_not_stored_is_refused(tables):
    with pytest.raises(DeviceError, match="activations of 4 bits"):
        uniform_plans(tables.costs({"a": {8: COST}}), activation_bits=4)


def test_the_answer_stays_where_it_is_the_best(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    answer = Exact().solve(asked)
    kept = never_worse_than_uniform(asked, answer)
    assert kept.model_copy(update={"comparison": ()}) == answer
    rows = [(c.plan.origin, c.flash_bytes, c.feasible, c.chosen) for c in kept.comparison]
    assert rows == [
        ("exact", 480, True, True),
        ("uniform 2", 220, True, False),
        ("uniform 4", 440, True, False),
        ("uniform 8", 880, False, False),
    ]
    losses = [c.loss for c in kept.comparison]
    assert losses == [pytest.approx(0.1), pytest.approx(1.4), pytest.approx(0.3), None]
    assert {c.basis for c in kept.comparison} == {"score"}


def test_a_uniform_plan_that_scores_better_takes_its_place(tables):
    # The best rate is "a", after which "b" no longer fits.
    layers = {
        "a": {2: (0.3, 0, 1.0, 1.0), 4: (0.3, 20, 1.0, 1.0), 8: (0.0, 21, 1.0, 1.0)},
        "b": {2: (1.0, 0, 1.0, 1.0), 4: (0.0, 80, 1.0, 1.0), 8: (0.0, 90, 1.0, 1.0)},
    }
    asked = tables.problem(layers, Budget(flash=100))
    answer = Greedy().solve(asked)
    assert answer.plan.weight_bits == {"a": 8, "b": 2}
    found = never_worse_than_uniform(asked, answer)
    assert found.plan.weight_bits == {"a": 4, "b": 4}
    assert found.plan.origin == "uniform 4"
    assert found.objective == pytest.approx(0.3)
    assert found.totals["flash_bytes"] == 100
    assert [c.chosen for c in found.comparison] == [False, False, True, False]


def test_the_measured_loss_decides(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    answer = Exact().solve(asked)
    measured = []

    def measure(plan):
        measured.append(plan.origin)
        return {"exact": 0.5, "uniform 2": 2.0, "uniform 4": 0.4}[plan.origin]

    found = never_worse_than_uniform(asked, answer, measure)
    assert measured == ["exact", "uniform 2", "uniform 4"]  # 8 bits do not fit
    assert found.plan.origin == "uniform 4"
    assert (found.strategy, found.status, found.gap) == ("exact", "feasible", None)
    assert {c.basis for c in found.comparison} == {"measured"}


def test_at_a_tie_the_answer_stays(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=480))
    found = never_worse_than_uniform(asked, Exact().solve(asked), lambda plan: 1.0)
    assert found.status == "optimal"
    assert found.comparison[0].chosen


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_does_not_win(tables, two_layers, broken):
    asked = tables.problem(two_layers, Budget(flash=480))
    answer = Exact().solve(asked)
    found = never_worse_than_uniform(
        asked, answer, lambda plan: broken if plan.origin == "exact" else 1.0
    )
    assert found.plan.origin == "uniform 2"
    assert found.comparison[0].loss is None
    kept = never_worse_than_uniform(asked, answer, lambda plan: broken)
    assert kept.plan == answer.plan


def test_an_answer_that_is_uniform_is_listed_once(tables, two_layers):
    asked = tables.problem(two_layers)
    found = never_worse_than_uniform(asked, Exact().solve(asked))
    assert [c.plan.origin for c in found.comparison] == ["exact", "uniform 2", "uniform 4"]


def test_a_plan_of_least_cost_is_not_compared(tables, two_layers):
    asked = tables.problem(two_layers)
    with pytest.raises(AssertionError, match="least cost"):
        never_worse_than_uniform(asked, least(asked, "flash_bytes", 1.0))
