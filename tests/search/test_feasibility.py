from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.budget import METRICS, Budget
from sigmaquant.errors import DeviceError, InfeasibleError
from sigmaquant.search import check_feasible, reachable
from sigmaquant.search.reachability import BUDGET_NAMES, rounded_up

# The least flash is at 2 bits, the least latency and energy at 8.
LAYERS = {
    "small": {2: (1000, 2.0, 4.0), 8: (4000, 1.0, 2.0)},
    "large": {2: (3000, 6.0, 12.0), 8: (12000, 3.0, 6.0)},
}
LEAST = {"flash": 4096, "ram": 640, "latency": 4.5, "energy": 9.0}


@pytest.fixture
def costs(tables):
    fixed = (96, 0.5, 1.0)
    return tables.costs(LAYERS, fixed=fixed, ram=(("stem", 200), ("block", 512)), reserve=128)


@pytest.mark.parametrize("name", LEAST)
def test_a_budget_at_its_least_value_is_feasible_and_just_below_is_not(costs, name):
    assert check_feasible(costs, Budget(**{name: LEAST[name]})).feasible
    below = LEAST[name] - (1 if name in ("flash", "ram") else 1e-6)
    with pytest.raises(InfeasibleError, match=f"^{name} of .* cannot be met on toy"):
        check_feasible(costs, Budget(**{name: below}))


def test_the_reach_of_every_metric(costs):
    found = reachable(costs, Budget())
    assert {BUDGET_NAMES[m]: reach.least for m, reach in found.metrics.items()} == LEAST
    assert [found.metrics[m].most for m in METRICS] == [16096, 640, 8.5, 17.0]
    assert found.feasible
    assert found.nearest == {}


def test_the_message_names_the_value_the_layers_and_the_way_out(costs):
    with pytest.raises(InfeasibleError) as caught:
        check_feasible(costs, Budget(flash="3 KiB"))
    assert str(caught.value) == (
        "flash of 3 KiB cannot be met on toy: the least reachable is 4 KiB, of which large takes "
        "73%, small takes 24% and everything outside the layers takes 2%. Nearest feasible "
        "budget: raise flash to 4 KiB."
    )


def test_the_message_for_ram_names_the_peak(costs):
    with pytest.raises(InfeasibleError) as caught:
        check_feasible(costs, Budget(ram=600))
    assert str(caught.value) == (
        "ram of 600 B cannot be met on toy: with 8-bit activations the peak is 640 B, at block, "
        "whatever the weight widths; a smaller input lowers it. Nearest feasible budget: raise "
        "ram to 640 B."
    )


def test_two_budgets_that_conflict(costs):
    # One layer at 8 bits: 7096 B and 7.5 ms, or 13096 B and 5.5 ms.
    budget = Budget(flash=8000, latency=6.0)
    found = reachable(costs, budget)
    assert found.conflict.limits == {"flash_bytes": 8000, "latency_ms": 6.0}
    assert found.conflict.alternatives == {"flash_bytes": 13096, "latency_ms": 7.5}
    assert found.nearest == {"flash_bytes": 8000, "latency_ms": 7.5}
    with pytest.raises(InfeasibleError) as caught:
        check_feasible(costs, budget)
    assert str(caught.value) == (
        "flash of 7.812 KiB and latency of 6 ms cannot be met together on toy: with the others "
        "kept, flash needs at least 12.79 KiB or latency needs at least 7.5 ms. Nearest feasible "
        "budget: raise latency to 7.5 ms."
    )


@pytest.mark.parametrize("raised", [{"flash": 13096}, {"latency": 7.5}])
def test_either_alternative_resolves_the_conflict(costs, raised):
    assert check_feasible(costs, Budget(**{"flash": 8000, "latency": 6.0, **raised})).feasible


def test_a_budget_out_of_reach_that_then_conflicts_with_another(costs):
    found = reachable(costs, Budget(flash=1000, latency=4.5))
    assert not found.metrics["flash_bytes"].reachable
    assert found.metrics["latency_ms"].reachable
    assert found.conflict.limits == {"flash_bytes": 4096, "latency_ms": 4.5}
    text = found.why_infeasible()
    assert text.startswith("flash of 1000 B cannot be met on toy")
    assert "flash of 4 KiB and latency of 4.5 ms cannot be met together" in text


def test_three_budgets_that_conflict_though_no_two_do(tables):
    costs = tables.costs({"a": {2: (1, 1.0, 9.0), 4: (1, 9.0, 1.0), 8: (9, 1.0, 1.0)}})
    found = reachable(costs, Budget(flash=5, latency=5.0, energy=5.0))
    assert set(found.conflict.limits) == {"flash_bytes", "latency_ms", "energy_uj"}
    assert found.conflict.alternatives == {"flash_bytes": 9, "latency_ms": 9.0, "energy_uj": 9.0}


def test_a_conflict_that_no_single_raise_resolves(tables):
    costs = tables.costs({"a": {2: (1, 9.0, 9.0), 4: (9, 1.0, 9.0), 8: (9, 9.0, 1.0)}})
    found = reachable(costs, Budget(flash=5, latency=5.0, energy=5.0))
    assert found.conflict.alternatives == {}
    assert found.nearest == {"flash_bytes": 5, "latency_ms": 9.0, "energy_uj": 9.0}
    text = found.why_infeasible()
    assert "raising a single one does not help" in text
    assert text.endswith("raise latency to 9 ms and energy to 9 uJ.")


def test_slack_budgets_are_told(costs):
    found = reachable(costs, Budget(flash="1 MiB", ram=640, latency=6.0))
    assert found.slack_budgets() == (
        "flash of 1 MiB is slack: the costliest plan takes 15.72 KiB",
        "ram of 640 B is slack: the costliest plan takes 640 B",
    )
    assert not found.metrics["latency_ms"].slack
    assert not found.metrics["energy_uj"].slack


def test_a_network_without_steps_takes_no_ram(tables):
    costs = tables.costs({"a": {8: (1, 1.0, 1.0)}}, ram=())
    assert reachable(costs, Budget(ram=1)).metrics["peak_ram_bytes"].least == 0


def test_a_reserve_alone_can_be_too_much(tables):
    costs = tables.costs({"a": {8: (1, 1.0, 1.0)}}, ram=(), reserve=2048)
    with pytest.raises(InfeasibleError, match="the peak is 2 KiB, whatever the weight widths"):
        check_feasible(costs, Budget(ram="1 KiB"))


def test_an_activation_width_that_is_not_stored_is_refused(costs):
    with pytest.raises(DeviceError, match="activations of 4 bits"):
        check_feasible(costs, Budget(), activation_bits=4)


@given(
    metric=st.sampled_from(METRICS),
    value=st.floats(min_value=1, max_value=1e10, allow_nan=False),
)
def test_a_rounded_cost_is_enough_as_a_budget(metric, value):
    if metric.endswith("_bytes"):
        value = int(value)
    text = rounded_up(metric, value)
    reached = Budget(**{BUDGET_NAMES[metric]: text}).limits()[metric]
    assert value <= reached <= value * 1.002


COSTS = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
TABLES = st.dictionaries(
    st.sampled_from("abc"),
    st.dictionaries(st.sampled_from((2, 4, 8)), COSTS, min_size=1),
    min_size=1,
)


@given(layers=TABLES, limits=st.tuples(*[st.integers(1, 150)] * 3))
def test_feasible_is_what_brute_force_finds_and_the_nearest_budget_is_feasible(
    tables, layers, limits
):
    budget = Budget(flash=limits[0], latency=limits[1], energy=limits[2])
    rises = {
        name: {b: (0.0, *cost) for b, cost in widths.items()} for name, widths in layers.items()
    }
    asked = tables.problem(rises, budget)
    found = reachable(asked.costs, budget)
    assert found.feasible == (tables.brute_force(asked) is not None)
    if found.feasible:
        assert found.nearest == budget.limits()
    else:
        nearest = {BUDGET_NAMES[m]: rounded_up(m, v) for m, v in found.nearest.items()}
        assert check_feasible(asked.costs, Budget(**nearest)).feasible
        assert "Nearest feasible budget: raise" in found.why_infeasible()
