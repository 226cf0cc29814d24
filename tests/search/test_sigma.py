from __future__ import annotations

import numpy as np
import pytest

from sigmaquant.budget import Budget
from sigmaquant.errors import ArtifactError, InfeasibleError
from sigmaquant.search import Sigma
from sigmaquant.search.problem import problem

WIDTHS = (2, 4, 8)


def network(tables, sigmas, budget=None, rises=None, size=8):
    """Layers of equal size, whose cost is linear in bits; each halving of bits quarters a score."""
    names = [f"layer{at}" for at in range(len(sigmas))]
    rises = rises or [1.0] * len(names)
    scores = tables.scores(
        {name: {b: rise / 4**b for b in WIDTHS} for name, rise in zip(names, rises, strict=True)}
    )
    scores = scores.model_copy(update={"weight_sigmas": dict(zip(names, sigmas, strict=True))})
    costs = tables.costs({name: {b: (size * b, float(b), 1.0) for b in WIDTHS} for name in names})
    return problem(scores, costs, budget or Budget())


def bits(found):
    return list(found.plan.weight_bits.values())


def test_without_budgets_every_layer_ends_at_its_widest(tables):
    found = Sigma().solve(network(tables, [0.1, 0.5, 0.9]))
    assert bits(found) == [8, 8, 8]
    assert (found.strategy, found.plan.origin, found.status) == ("sigma", "sigma", "feasible")
    assert (found.gap, found.refinement) == (None, None)


def never(plan):
    """A measure to which no move helps."""
    return 1.0


def test_phase_1_gives_the_largest_deviations_the_widest(tables):
    asked = network(tables, [9.0, 0.1, 3.0, 0.2, 0.3, 3.1], Budget(flash=22 * 8))
    found = Sigma().solve(asked, never)
    assert bits(found) == [8, 2, 4, 2, 2, 4]
    assert found.refinement.kept == 0


def test_the_penalty_grows_until_the_size_is_within_its_buffer(tables):
    # k-means puts all but the first layer into the widest cluster: 2 + 4 + 4 * 8 = 38 bits.
    sigmas = [0.1, 4.0, 9.0, 9.1, 9.2, 9.3]
    loose = Sigma().solve(network(tables, sigmas, Budget(flash=38 * 8)), never)
    assert bits(loose) == [2, 4, 8, 8, 8, 8]
    # Two of each width take 28 bits, with which nothing has to be taken back.
    tight = Sigma().solve(network(tables, sigmas, Budget(flash=28 * 8)), never)
    assert bits(tight) == [2, 2, 4, 4, 8, 8]


def test_what_is_over_the_limit_is_taken_from_the_layers_that_changed_least(tables):
    sigmas = [0.1, 4.0, 9.0, 9.1, 9.2, 9.3]
    asked = network(tables, sigmas, Budget(flash=20 * 8), rises=[1, 1, 1, 1, 1, 900])
    assert bits(Sigma().solve(asked, never)) == [2, 2, 2, 2, 4, 8]


def test_phase_2_moves_bits_to_the_layers_that_changed_most(tables):
    asked = network(tables, [1.0, 2.0, 3.0], Budget(flash=14 * 8), rises=[900, 1, 1])
    assert bits(Sigma().solve(asked, never)) == [2, 4, 8]
    found = Sigma().solve(asked)
    assert bits(found) == [8, 2, 4]
    assert found.totals["flash_bytes"] == 112


def test_a_step_that_does_not_measure_better_is_reverted(tables):
    asked = network(tables, [1.0, 2.0, 3.0], Budget(flash=16 * 8), rises=[900, 1, 1])
    losses = {(4, 4, 8): 1.0, (8, 4, 4): 0.5}
    found = Sigma().solve(asked, lambda plan: losses.get(tuple(plan.weight_bits.values()), 2.0))
    assert bits(found) == [8, 4, 4]
    assert (found.refinement.loss_before, found.refinement.loss_after) == (1.0, 0.5)
    assert found.refinement.kept == 1
    assert found.refinement.measurements > 2


def test_room_is_used_without_a_measurement(tables):
    asked = network(tables, [1.0, 2.0, 3.0], Budget(flash=18 * 8), rises=[900, 1, 1])
    found = Sigma().solve(asked, never)
    assert bits(found) == [4, 4, 8]
    assert found.refinement.kept == 0


def test_so_many_plans_are_measured_at_most(tables):
    asked = network(tables, [1.0, 2.0, 3.0], Budget(flash=14 * 8))
    assert Sigma().solve(asked, never).refinement.measurements > 2
    assert Sigma(measurements=2).solve(asked, never).refinement.measurements == 2


def test_a_layer_without_the_width_gets_its_next(tables):
    scores = tables.scores({"a": {2: 0.4, 8: 0.1}, "b": {4: 0.2, 8: 0.1}})
    costs = tables.costs({"a": {2: (2, 1.0, 1.0), 8: (8, 1.0, 1.0)}, "b": {4: (4, 1.0, 1.0)}})
    assert bits(Sigma().solve(problem(scores, costs, Budget(flash=6)))) == [2, 4]


def test_narrower_is_not_always_cheaper(tables):
    # 4 bits are slow: steps down from 8 lead away from the limit, and the fitting plan is taken.
    layers = {
        name: {2: (0.9, 2, 1.0, 1.0), 4: (0.5, 4, 9.0, 1.0), 8: (0.1, 8, 2.0, 1.0)}
        for name in "abc"
    }
    found = Sigma().solve(tables.problem(layers, Budget(latency=4.0)))
    assert found.totals["latency_ms"] <= 4.0


def test_the_same_tables_give_the_same_plan(tables):
    random = np.random.default_rng(0)
    sigmas, rises = random.random(60).tolist(), random.random(60).tolist()
    plans = [
        Sigma().solve(network(tables, sigmas, Budget(flash=60 * 8 * 3), rises)).plan
        for _ in range(2)
    ]
    assert plans[0] == plans[1]


def test_equal_deviations(tables):
    found = Sigma().solve(network(tables, [1.0] * 5, Budget(flash=5 * 8 * 4)))
    assert found.totals["flash_bytes"] <= 160


def test_errors(tables):
    asked = network(tables, [1.0, 2.0], Budget(flash=10))
    with pytest.raises(InfeasibleError, match="raise flash to 32 B"):
        Sigma().solve(asked)
    unknown = tables.scores({"a": {2: 0.1}}).model_copy(update={"weight_sigmas": {}})
    costs = tables.costs({"a": {2: (2, 1.0, 1.0)}})
    with pytest.raises(ArtifactError, match="no standard deviations of the weights"):
        Sigma().solve(problem(unknown, costs, Budget()))
