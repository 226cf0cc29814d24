"""The solvers against all plans of small random tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.budget import Budget
from sigmaquant.errors import InfeasibleError
from sigmaquant.search import Exact, Greedy, Sigma, least, never_worse_than_uniform

RISES = st.integers(-16, 100).map(lambda n: n / 64)


@given(data=st.data())
def test_exact_finds_the_optimum_of_all_plans(tables, small_problems, data):
    asked = data.draw(small_problems)
    best = tables.brute_force(asked)
    if best is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Exact().solve(asked)
    else:
        found = Exact().solve(asked)
        assert asked.fits(found.plan)
        assert found.objective == pytest.approx(best, abs=1e-9)
        assert found.objective == tables.summed_rise(asked, found.plan)
        assert found.status == "optimal"


@given(data=st.data())
def test_greedy_keeps_every_budget_and_leaves_no_upgrade_that_fits(tables, small_problems, data):
    asked = data.draw(small_problems)
    best = tables.brute_force(asked)
    if best is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Greedy().solve(asked)
        return
    found = Greedy().solve(asked)
    assert asked.fits(found.plan)
    assert found.objective >= best - 1e-9
    for layer, widths in asked.weight_widths.items():
        for bits in widths:
            upgraded = found.plan.with_weight_bits({layer: bits})
            better = tables.summed_rise(asked, upgraded) < found.objective
            assert not (better and asked.fits(upgraded))


@given(data=st.data(), measured=st.booleans())
def test_sigma_keeps_every_budget_and_no_step_that_fits_scores_better(
    tables, small_problems, data, measured
):
    asked = data.draw(small_problems)
    best = tables.brute_force(asked)
    measure = tables.by_score(asked) if measured else None
    if best is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Sigma().solve(asked, measure)
        return
    found = Sigma().solve(asked, measure)
    assert asked.fits(found.plan)
    assert found.objective >= best - 1e-9
    for layer, widths in asked.weight_widths.items():
        place = widths.index(found.plan.weight_bits[layer])
        for bits in widths[place + 1 : place + 2]:
            wider = found.plan.with_weight_bits({layer: bits})
            better = tables.summed_rise(asked, wider) < found.objective
            assert not (better and asked.fits(wider))


@given(data=st.data())
def test_after_the_guard_no_feasible_uniform_plan_scores_better(tables, small_problems, data):
    asked = data.draw(small_problems)
    if tables.brute_force(asked) is None:
        return
    found = never_worse_than_uniform(asked, Greedy().solve(asked))
    assert asked.fits(found.plan)
    uniform = [plan for plan in tables.every_plan(asked) if len({*plan.weight_bits.values()}) == 1]
    for plan in filter(asked.fits, uniform):
        assert found.objective <= tables.summed_rise(asked, plan)


@given(data=st.data(), metric=st.sampled_from(("flash", "latency", "energy")))
def test_more_budget_never_makes_the_optimum_worse(tables, data, metric):
    layers = data.draw(tables.layers)
    limits = sorted(data.draw(st.tuples(st.integers(1, 300), st.integers(1, 300))))
    objectives = []
    for limit in limits:
        try:
            found = Exact().solve(tables.problem(layers, Budget(**{metric: limit})))
            objectives.append(found.objective)
        except InfeasibleError:
            objectives.append(float("inf"))
    assert objectives[1] <= objectives[0]


@given(data=st.data(), metric=st.sampled_from(("flash_bytes", "latency_ms", "energy_uj")))
def test_least_is_the_cheapest_of_all_plans_within_the_rise(tables, small_problems, data, metric):
    asked = data.draw(small_problems)
    max_rise = data.draw(RISES)
    costs = [
        asked.costs.totals(plan)[metric]
        for plan in tables.every_plan(asked)
        if asked.fits(plan) and tables.summed_rise(asked, plan) <= max_rise
    ]
    if not costs:
        with pytest.raises(InfeasibleError):
            least(asked, metric, max_rise)
    else:
        found = least(asked, metric, max_rise)
        assert found.totals[metric] == pytest.approx(min(costs))
        assert found.objective <= max_rise
        assert asked.fits(found.plan)
