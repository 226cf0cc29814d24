from __future__ import annotations

import importlib

import pytest

from sigmaquant.budget import Budget
from sigmaquant.errors import ArtifactError, ConfigError, InfeasibleError
from sigmaquant.search import STRATEGIES, Solution, search


@pytest.fixture
def stages(tables, two_layers):
    """The two tables of ``two_layers``."""
    asked = tables.problem(two_layers)
    return asked.scores, asked.costs


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_answers_within_the_budget(stages, strategy):
    budget = Budget(flash=470, latency=2.0)
    found = search(*stages, budget, strategy=strategy, measure=lambda plan: 1.0)
    assert found.strategy == strategy
    assert found.totals["flash_bytes"] <= 470
    assert len(found.comparison) >= 2


def test_exact_is_the_default(stages):
    assert search(*stages, Budget(flash=440)).status == "optimal"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_plan_is_measured_twice(stages, strategy):
    measured = []

    def measure(plan):
        measured.append(tuple(plan.weight_bits.values()))
        return 1.0

    found = search(*stages, Budget(flash=470), strategy=strategy, measure=measure)
    assert len(measured) == len(set(measured)) >= 2
    assert {compared.basis for compared in found.comparison} == {"measured"}
    assert (found.refinement is None) == (strategy in ("exact", "greedy"))


def test_refine_says_what_it_lacks(stages):
    with pytest.raises(ConfigError, match=r"give calibration data or a measure, or choose 'exact'"):
        search(*stages, Budget(), strategy="refine")


def test_greedy_is_held_against_the_uniform_plans(stages):
    # At 440 bytes greedy has 8 and 2 bits; 4 bits everywhere score better.
    found = search(*stages, Budget(flash=440), strategy="greedy")
    assert found.plan.origin == "uniform 4"
    assert found.objective == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "nearest"), [("gredy", "greedy"), ("sigm", "sigma"), ("", ""), ("zzz", "")]
)
def test_an_unknown_strategy_names_the_nearest(stages, name, nearest):
    with pytest.raises(ConfigError, match=rf"did you mean '{nearest}.*Known: exact, greedy, "):
        search(*stages, Budget(), strategy=name)


def test_the_other_errors_come_through(stages, tables):
    scores, costs = stages
    with pytest.raises(InfeasibleError, match="raise flash to 220 B"):
        search(scores, costs, Budget(flash=100))
    with pytest.raises(ArtifactError, match="lacks layer"):
        search(tables.scores({}), costs, Budget())


def test_a_solution_is_the_same_after_a_trip_to_disk(stages, tmp_path):
    found = search(*stages, Budget(flash=470), strategy="greedy")
    found.save(tmp_path / "plan.json")
    assert Solution.load(tmp_path / "plan.json") == found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_tables_give_the_same_answer(stages, strategy):
    first, second = (
        search(*stages, Budget(flash=470), strategy=strategy, measure=lambda plan: 1.0)
        for _ in range(2)
    )
    assert first.model_copy(update={"seconds": 0.0}) == second.model_copy(update={"seconds": 0.0})


def test_all_public_names_exist():
    package = importlib.import_module("sigmaquant.search")
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)
