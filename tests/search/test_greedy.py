from __future__ import annotations

import time

import numpy as np
import pytest

from sigmaquant.budget import Budget
from sigmaquant.errors import InfeasibleError
from sigmaquant.search import Greedy


def bits(asked):
    return tuple(Greedy().solve(asked).plan.weight_bits.values())


@pytest.mark.parametrize(
    ("flash", "plan"),
    [
        (220, (2, 2)),
        (239, (2, 2)),
        (240, (4, 2)),  # 0.8 for 20 bytes comes first
        (279, (4, 2)),
        (280, (8, 2)),  # then 0.2 for 40 bytes
        (479, (8, 2)),
        (480, (8, 4)),  # then 0.3 for 200 bytes
        (879, (8, 4)),
        (880, (8, 8)),
    ],
)
def test_each_upgrade_is_bought_as_soon_as_the_flash_allows_it(tables, two_layers, flash, plan):
    assert bits(tables.problem(two_layers, Budget(flash=flash))) == plan


@pytest.mark.parametrize(("energy", "plan"), [(5.9, (2, 2)), (6.0, (4, 2)), (8.0, (4, 4))])
def test_energy_is_a_budget_too(tables, two_layers, energy, plan):
    assert bits(tables.problem(two_layers, Budget(energy=energy))) == plan


def test_without_a_budget_every_layer_gets_its_best_score(tables):
    layers = {
        "a": {2: (0.5, 1, 1.0, 1.0), 4: (-0.1, 2, 1.0, 1.0), 8: (0.0, 4, 1.0, 1.0)},
        "b": {2: (0.5, 1, 1.0, 1.0), 4: (0.2, 2, 1.0, 1.0), 8: (0.0, 4, 1.0, 1.0)},
    }
    assert bits(tables.problem(layers)) == (4, 8)


def test_a_slack_budget_does_not_matter(tables, two_layers):
    asked = tables.problem(two_layers, Budget(flash=880, latency=2.0, ram=100))
    assert bits(asked) == (8, 8)


def test_an_upgrade_that_costs_less_is_free(tables):
    # 4 bits are faster than 2 here, and 3 slower: latency alone would keep neither 2 nor 3.
    layers = {"a": {2: (0.9, 1, 2.0, 1.0), 3: (0.5, 1, 3.0, 1.0), 4: (0.1, 1, 1.5, 1.0)}}
    assert bits(tables.problem(layers, Budget(latency=2.0))) == (4,)


def test_a_wide_step_is_taken_where_the_next_width_does_not_fit(tables):
    # Reading 8 bits is faster than unpacking 5 to 7.
    latency = {4: 1.0, 5: 1.9, 6: 1.8, 7: 1.7, 8: 1.2}
    layers = {"a": {b: (0.1 / b, b, t, 1.0) for b, t in latency.items()}}
    assert bits(tables.problem(layers, Budget(latency=1.2))) == (8,)


def test_a_start_that_breaks_a_budget_is_replaced(tables):
    # 2 bits are the slowest of all; only "a" has a way out that the flash allows.
    layers = {
        "a": {2: (0.1, 1, 3.0, 1.0), 8: (0.2, 4, 1.0, 1.0)},
        "b": {2: (0.1, 10, 3.0, 1.0), 8: (0.0, 40, 1.0, 1.0)},
    }
    asked = tables.problem(layers, Budget(flash=14, latency=4.0))
    assert bits(asked) == (8, 2)


def test_an_upgrade_may_free_a_budget_for_others(tables):
    # "a" at 8 bits saves the time that "b" needs; neither fits the other way round.
    layers = {
        "a": {2: (0.1, 1, 2.0, 1.0), 8: (0.0, 4, 1.0, 1.0)},
        "b": {2: (0.5, 1, 1.0, 1.0), 8: (0.0, 4, 2.0, 1.0)},
    }
    assert bits(tables.problem(layers, Budget(latency=3.0))) == (8, 8)


def test_the_scarcer_budget_weighs_more(tables):
    # Both gain the same. Of what is left, "a" takes 1/2 of the flash, "b" 1/10 of the latency.
    layers = {
        "a": {2: (0.5, 1, 1.0, 1.0), 8: (0.0, 6, 1.0, 1.0)},
        "b": {2: (0.5, 1, 1.0, 1.0), 8: (0.0, 8, 2.0, 1.0)},
        "c": {2: (0.5, 1, 1.0, 1.0), 8: (0.5, 99, 99.0, 1.0)},
    }
    roomy_flash = tables.problem(layers, Budget(flash=80, latency=3.0))
    assert bits(roomy_flash) == (8, 2, 2)
    roomy_latency = tables.problem(layers, Budget(flash=9, latency=13.0))
    assert bits(roomy_latency) == (8, 2, 2)


def test_a_sum_that_oversteps_by_rounding_alone_is_over_the_budget(tables):
    assert 0.1 + 0.2 > 0.3
    layers = {
        "a": {2: (0.0, 1, 0.1, 1.0)},
        "b": {2: (0.5, 1, 0.1, 1.0), 8: (0.0, 1, 0.2, 1.0)},
    }
    assert bits(tables.problem(layers, Budget(latency=0.3))) == (2, 2)
    assert bits(tables.problem(layers, Budget(latency=0.1 + 0.2))) == (2, 8)


def test_no_plan_is_an_error_that_explains_itself(tables, two_layers):
    with pytest.raises(InfeasibleError, match=r"flash of 219 B .* robust takes 91%"):
        Greedy().solve(tables.problem(two_layers, Budget(flash=219)))
    with pytest.raises(InfeasibleError, match=r"ram of 99 B .* at conv"):
        Greedy().solve(tables.problem(two_layers, Budget(ram=99)))


def test_the_solution_says_what_is_known_of_it(tables, two_layers):
    found = Greedy().solve(tables.problem(two_layers, Budget(flash=300)))
    assert (found.strategy, found.status, found.gap) == ("greedy", "feasible", None)
    assert found.plan.origin == "greedy"
    assert found.objective == pytest.approx(0.4)
    assert found.totals["flash_bytes"] == 280
    assert found.limits == {"flash_bytes": 300}


def test_two_hundred_layers_take_a_fraction_of_a_second(tables):
    rng = np.random.default_rng(0)
    layers = {}
    for at in range(200):
        size, rise = rng.lognormal(9, 1.5), rng.lognormal(-4, 1.5)
        layers[f"layer{at}"] = {
            bits: (rise / 4**bits, int(size * bits / 8), size * rng.uniform(1, 2), size * bits)
            for bits in range(2, 9)
        }
    asked = tables.problem(layers)
    costliest = asked.costs.totals(asked.plan(asked.choices.starts[1:] - 1, "widest"))
    limits = {m: 0.5 * costliest[m] for m in ("flash_bytes", "energy_uj")}
    budget = Budget(flash=limits["flash_bytes"], energy=limits["energy_uj"])
    asked = tables.problem(layers, budget)
    started = time.process_time()
    found = Greedy().solve(asked)
    assert time.process_time() - started < 0.1  # 0.03 s is usual
    assert asked.fits(found.plan)
