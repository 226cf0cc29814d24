from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.budget import Budget
from sigmaquant.search.moves import promising_moves
from sigmaquant.search.problem import problem


def widths(asked, moves):
    return [tuple(asked.choices.weight_bits[move].tolist()) for move in moves]


def distance(asked, plan, other):
    """(layers that differ, whether they are one step up and one down)."""
    starts = asked.choices.starts[:-1]
    steps = [b - a for a, b in zip(plan - starts, other - starts, strict=True) if a != b]
    return len(steps), sorted(steps) == [-1, 1]


def test_single_moves_and_swaps_the_smallest_rise_first(tables, two_layers):
    asked = tables.problem(two_layers)
    found = widths(asked, promising_moves(asked, asked.choices.index({"fragile": 4, "robust": 4})))
    assert found == [
        (8, 4),  # -0.2
        (4, 8),  # -0.1
        (8, 2),  # +0.1
        (4, 2),  # +0.3
        (2, 8),  # +0.7
        (2, 4),  # +0.8
    ]


def test_the_budget_is_kept(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=440))
    chosen = asked.choices.index({"fragile": 4, "robust": 4})
    assert widths(asked, promising_moves(asked, chosen)) == [(8, 2), (4, 2), (2, 4)]


def test_of_two_that_score_alike_the_less_certain_comes_first(tables):
    rises = {"a": {2: (0.5, 0.0), 4: (0.1, 0.0)}, "b": {2: (0.5, 0.0), 4: (0.1, 0.2)}}
    costs = tables.costs({name: {2: (2, 1.0, 1.0), 4: (4, 1.0, 1.0)} for name in "ab"})
    asked = problem(tables.scores(rises), costs, Budget())
    chosen = asked.choices.index({"a": 2, "b": 2})
    assert widths(asked, promising_moves(asked, chosen)) == [(2, 4), (4, 2)]


@given(data=st.data())
def test_every_neighbour_within_the_budget_comes_once(tables, small_problems, data):
    asked = data.draw(small_problems)
    fitting = [
        asked.choices.index(p.weight_bits) for p in tables.every_plan(asked) if asked.fits(p)
    ]
    if not fitting:
        return
    chosen = data.draw(st.sampled_from(fitting))
    found = [tuple(move) for move in promising_moves(asked, chosen)]
    near = [distance(asked, chosen, other) for other in fitting]
    expected = {
        tuple(other)
        for other, (layers, swap) in zip(fitting, near, strict=True)
        if layers == 1 or (layers == 2 and swap)
    }
    assert len(found) == len(set(found))
    assert set(found) == expected
