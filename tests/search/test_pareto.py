"""The front against all plans of small random tables, and its parts by hand."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigmaquant.budget import Budget
from sigmaquant.errors import ConfigError, InfeasibleError
from sigmaquant.search import Exact, Front, least, pareto
from sigmaquant.search.front import knee_of
from sigmaquant.search.integer_program import Outcome

FRONTS = (
    ("rise", "flash_bytes"),
    ("latency_ms", "rise"),
    ("flash_bytes", "energy_uj"),
    ("rise", "flash_bytes", "latency_ms"),
    ("flash_bytes", "latency_ms", "energy_uj"),
)
# Multiples of a power of two, so that sums are exact and plans tie often.
SIXTEENTHS = st.integers(1, 100).map(lambda n: n / 16)
RISES = st.integers(-4, 60).map(lambda n: n / 64)
CHOICE = st.tuples(RISES, st.integers(1, 60), SIXTEENTHS, SIXTEENTHS)
LAYER = st.dictionaries(st.sampled_from((2, 3, 4, 8)), CHOICE, min_size=1)
LAYERS = st.dictionaries(st.sampled_from("abcd"), LAYER, min_size=1)


@st.composite
def problems(draw, tables):
    """A problem with a budget that at least one plan meets, or none."""
    layers = draw(LAYERS)
    asked = tables.problem(layers)
    totals = asked.costs.totals(draw(st.sampled_from(list(tables.every_plan(asked)))))
    limits = {
        name: totals[metric]
        for name, metric in (("flash", "flash_bytes"), ("latency", "latency_ms"))
        if draw(st.booleans())
    }
    return tables.problem(layers, Budget(**limits))


def values_of(asked, plan, metrics):
    known = {
        **asked.costs.totals(plan),
        "rise": asked.objective(asked.choices.index(plan.weight_bits)),
    }
    return tuple(known[metric] for metric in metrics)


def dominates(one, other):
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def true_front(tables, asked, metrics):
    """The values of all plans within the budget that no other dominates."""
    fitting = {values_of(asked, p, metrics) for p in tables.every_plan(asked) if asked.fits(p)}
    return {v for v in fitting if not any(dominates(other, v) for other in fitting)}


def shown(front):
    return [tuple(front.values(at).values()) for at in range(len(front.points))]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), metrics=st.sampled_from(FRONTS), points=st.integers(3, 12))
def test_every_point_is_on_the_true_front(tables, data, metrics, points):
    asked = data.draw(problems(tables))
    front = pareto(asked, metrics, points)
    found = shown(front)
    truth = true_front(tables, asked, front.metrics)
    assert set(found) <= truth
    assert len(set(found)) == len(found) <= points
    assert found == sorted(found)
    assert front.proven
    for point, values in zip(front.points, found, strict=True):
        assert asked.fits(point.plan)
        assert values_of(asked, point.plan, front.metrics) == values
    for at in range(len(front.metrics)):  # the ends
        assert min(v[at] for v in found) == min(v[at] for v in truth)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_what_a_long_front_leaves_out_is_negligible(tables, data):
    asked = data.draw(problems(tables))
    truth = sorted(true_front(tables, asked, ("rise", "flash_bytes")))
    found = shown(pareto(asked, points=256))
    rise_span, flash_span = np.ptp(truth, axis=0)
    for rise, flash in set(truth) - set(found):
        next_rise = min(v[0] for v in found if v[0] > rise)
        next_flash = min(v[1] for v in found if v[1] > flash)
        assert (next_rise - rise) * (next_flash - flash) < 1e-4 * rise_span * flash_span


@pytest.mark.parametrize("metrics", [("rise", "flash_bytes"), ("flash_bytes", "rise")])
def test_the_whole_of_a_short_front(tables, two_layers, metrics):
    front = pareto(tables.problem(two_layers), metrics)
    assert front.metrics == ("rise", "flash_bytes")
    assert [point.totals["flash_bytes"] for point in front.points] == [880, 480, 440, 280, 240, 220]
    assert [p.objective for p in front.points] == pytest.approx([0.0, 0.1, 0.3, 0.4, 0.6, 1.4])
    assert [point.minimised for point in front.points] == ["rise"] * 5 + ["flash_bytes"]
    assert front.knee == 3


def test_the_ends_are_what_the_exact_solver_answers(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=500))
    front = pareto(asked, points=2)
    best, cheapest = front.points
    assert best.plan == Exact().solve(asked).plan
    assert cheapest.totals == least(asked, "flash_bytes", 1e9).totals
    assert front.limits == {"flash_bytes": 500}
    assert front.knee is None


def test_a_point_is_the_answer_within_its_own_limits(tables, two_layers):
    for point in pareto(tables.problem(two_layers, Budget(latency=9.0))).points:
        limits = Budget(flash=point.limits["flash_bytes"], latency=point.limits["latency_ms"])
        again = Exact().solve(tables.problem(two_layers, limits))
        assert (again.plan, again.close_calls) == (point.plan, point.close_calls)


def test_plans_alike_in_the_traded_metrics_are_told_apart_by_their_rise(tables):
    layers = {"a": {2: (0.5, 1, 1.0, 1.0), 4: (0.1, 1, 1.0, 1.0), 8: (0.0, 2, 1.0, 1.0)}}
    (point,) = pareto(tables.problem(layers), ("flash_bytes", "latency_ms")).points
    assert point.plan.weight_bits == {"a": 4}


def test_a_trade_between_costs_is_found_where_the_rise_never_changes(tables):
    layers = {
        name: {2: (0.0, 1, 4.0, 1.0), 4: (0.0, 2, 2.0, 1.0), 8: (0.0, 4, 1.0, 1.0)} for name in "ab"
    }
    asked = tables.problem(layers)
    front = pareto(asked, ("rise", "flash_bytes", "latency_ms"))
    assert set(shown(front)) == true_front(tables, asked, front.metrics)


@pytest.mark.parametrize("metrics", [("rise", "latency_ms"), ("rise", "flash_bytes", "energy_uj")])
def test_what_time_does_not_prove_is_said_to_be_unproven(tables, metrics):
    rng = np.random.default_rng(0)
    layers = {
        f"layer{at}": {
            bits: (rng.uniform() / bits, int(rng.integers(1, 999) * bits), *rng.uniform(1, 2, 2))
            for bits in range(2, 9)
        }
        for at in range(40)
    }
    asked = tables.problem(layers, Budget(latency=56.0, energy=56.0))
    front = pareto(asked, metrics, time_limit_seconds=0.0)
    found = shown(front)
    assert not any(dominates(one, other) for one in found for other in found)
    assert all(asked.fits(point.plan) for point in front.points)
    assert {(point.status, point.gap) for point in front.points} == {("unproven", None)}
    assert not front.proven


def test_a_point_is_proven_only_if_all_its_steps_are(tables, two_layers, monkeypatch):
    module = sys.modules["sigmaquant.search.least"]
    solve, outcomes = module.minimise_from, iter([Outcome.OPTIMAL, Outcome.STOPPED])

    def stopped_in_the_second_step(*args, **kwargs):
        answer = solve(*args, **kwargs)
        return replace(answer, outcome=next(outcomes, Outcome.OPTIMAL))

    monkeypatch.setattr(module, "minimise_from", stopped_in_the_second_step)
    front = pareto(tables.problem(two_layers), points=3)
    assert [point.status for point in front.points] == ["unproven", "optimal", "optimal"]


def test_it_is_an_artifact(tables, two_layers, tmp_path):
    front = pareto(tables.problem(two_layers, Budget(energy=12.0)))
    front.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == front


def test_a_budget_out_of_reach_explains_itself(tables, two_layers):
    with pytest.raises(InfeasibleError, match=r"flash of 219 B .* least reachable is 220 B"):
        pareto(tables.problem(two_layers, Budget(flash=219)))


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (("rise", "flash"), "'flash' cannot be traded; did you mean 'flash_bytes'?"),
        (("rise", "peak_ram_bytes"), "These can: rise, flash_bytes, latency_ms, energy_uj"),
        (("rise",), "two or three different metrics, not over 'rise'"),
        (("rise", "rise"), "different metrics, not over 'rise, rise'"),
        (("rise", "flash_bytes", "latency_ms", "energy_uj"), "two or three different metrics"),
    ],
)
def test_metrics_that_make_no_front_are_refused(tables, two_layers, metrics, message):
    with pytest.raises(ConfigError) as refused:
        pareto(tables.problem(two_layers), metrics)
    assert message in str(refused.value)


def test_fewer_points_than_ends_are_refused(tables, two_layers):
    with pytest.raises(ConfigError, match=r"needs at least 3 points, .*; 2 were asked for"):
        pareto(tables.problem(two_layers), ("rise", "flash_bytes", "energy_uj"), points=2)


class TestKnee:
    @pytest.mark.parametrize(
        ("values", "knee"),
        [
            ([(0, 100), (1, 50), (2, 20), (5, 10), (10, 0)], 2),
            ([(0, 1), (9, 0.9), (10, 0)], None),  # bent away from the origin
            ([(0, 2), (1, 1), (2, 0)], None),  # straight
            ([(0, 1), (1, 0)], None),
            ([(3, 4)], None),
            ([(0, 9, 9), (9, 0, 9), (9, 9, 0), (2, 3, 2), (5, 1, 3)], 3),
            ([(0, 9, 7), (9, 0, 7), (1, 1, 7)], 2),  # a metric that never changes
        ],
    )
    def test_of_hand_made_fronts(self, values, knee):
        assert knee_of(values) == knee

    def test_units_do_not_matter(self):
        values = np.array([(0, 100), (1, 50), (2, 20), (5, 10), (10, 0)])
        assert knee_of(values * (1e-6, 1e6) + (-3.0, 7.0)) == 2
