from __future__ import annotations

import pytest

from sigmaquant.budget import Budget
from sigmaquant.search.close_calls import close_calls
from sigmaquant.search.problem import problem


def twins(tables, error, budget=None, names="ab"):
    """Layers of equal cost and nearly equal scores."""
    rises = {name: {2: (0.5 + 0.01 * at, error), 4: (0.1, error)} for at, name in enumerate(names)}
    costs = {name: {2: (2, 1.0, 1.0), 4: (4, 1.0, 1.0)} for name in names}
    return problem(tables.scores(rises), tables.costs(costs), budget or Budget())


def test_a_swap_within_its_standard_error_is_told(tables):
    asked = twins(tables, error=0.01)
    (call,) = close_calls(asked, asked.choices.index({"a": 2, "b": 4}))
    assert (call.raised, call.raised_bits) == ("a", 4)
    assert (call.lowered, call.lowered_bits) == ("b", 2)
    assert call.rise == pytest.approx(0.01)
    assert call.standard_error == pytest.approx(0.02)  # four scores of 0.01 each


@pytest.mark.parametrize(("error", "told"), [(0.0, 0), (0.0049, 0), (0.0051, 1)])
def test_the_break_point_is_the_combined_standard_error(tables, error, told):
    asked = twins(tables, error)
    assert len(close_calls(asked, asked.choices.index({"a": 2, "b": 4}))) == told


def test_a_swap_that_breaks_a_budget_is_not_told(tables):
    rises = {"a": {2: (0.5, 1.0), 4: (0.1, 1.0)}, "b": {2: (0.5, 1.0), 4: (0.1, 1.0)}}
    costs = tables.costs(
        {"a": {2: (2, 1.0, 1.0), 4: (9, 1.0, 1.0)}, "b": {2: (2, 1.0, 1.0), 4: (4, 1.0, 1.0)}}
    )
    for flash, told in ((10, 0), (11, 1)):
        asked = problem(tables.scores(rises), costs, Budget(flash=flash))
        assert len(close_calls(asked, asked.choices.index({"a": 2, "b": 4}))) == told


def test_a_layer_is_not_swapped_with_itself(tables):
    costs = tables.costs({"a": {2: (1, 1.0, 1.0), 4: (2, 1.0, 1.0), 8: (4, 1.0, 1.0)}})
    scores = tables.scores({"a": {2: (0.0, 1.0), 4: (0.0, 1.0), 8: (0.0, 1.0)}})
    asked = problem(scores, costs, Budget())
    assert close_calls(asked, asked.choices.index({"a": 4})) == ()


def test_the_five_closest_are_told_the_closest_first(tables):
    asked = twins(tables, error=1.0, names="abcdef")
    plan = {name: 2 if name in "abc" else 4 for name in "abcdef"}
    calls = close_calls(asked, asked.choices.index(plan))
    assert len(calls) == 5
    assert (calls[0].raised, calls[0].lowered) == ("c", "d")
    ratios = [abs(call.rise) / call.standard_error for call in calls]
    assert ratios == sorted(ratios)
