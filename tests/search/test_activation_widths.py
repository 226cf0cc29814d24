"""Activation widths chosen with weight widths: against all plans of random tables, and by hand."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import METRICS, Budget
from sigmaquant.costs.table import ChoiceCost, CostTable, RamStep
from sigmaquant.errors import ArtifactError, ConfigError, DeviceError, InfeasibleError
from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.search import (
    Exact,
    Greedy,
    Refine,
    Sigma,
    Solution,
    check_feasible,
    least,
    never_worse_than_uniform,
    pareto,
    reachable,
    search,
    uniform_plans,
)
from sigmaquant.search.activations import settled
from sigmaquant.search.close_calls import close_calls
from sigmaquant.search.moves import promising_moves
from sigmaquant.search.problem import problem
from sigmaquant.search.reachability import BUDGET_NAMES, rounded_up


def make_costs(layers, steps, *, reads, stored=(4, 8), reserve=0, fixed=(0, 0.0, 0.0)):
    """A table from {layer: {weight bits: {input bits: costs}}} and {step: {group: elements}}."""

    def cost(values):
        flash, latency, energy = values
        return ChoiceCost(flash_bytes=flash, latency_ms=latency, energy_uj=energy)

    return CostTable(
        device="toy",
        choices={
            name: {w: {a: cost(v) for a, v in by_input.items()} for w, by_input in widths.items()}
            for name, widths in layers.items()
        },
        fixed=cost(fixed),
        ram_steps=tuple(
            RamStep(
                name=name,
                elements=tuple(live.values()),
                groups=tuple(live),
                tensors=tuple(f"{group}.out" for group in live),
            )
            for name, live in steps.items()
        ),
        ram_reserve_bytes=reserve,
        activation_storage_bits={bits: bits for bits in stored},
        input_groups=reads,
        marks={},
    )


def make_scores(weights, activations):
    """A table from {layer or group: {bits: rise or (rise, standard error)}}."""

    def scores(table):
        return {
            name: {
                b: Score(rise=v[0], standard_error=v[1]) if isinstance(v, tuple) else Score(rise=v)
                for b, v in widths.items()
            }
            for name, widths in table.items()
        }

    return SensitivityTable(
        metric="taylor",
        loss="kl",
        rounding="nearest",
        float_loss=0.0,
        samples=1,
        seed=0,
        inputs="",
        scores=scores(weights),
        activation_scores=scores(activations),
        weight_sigmas={name: 1.0 + at for at, name in enumerate(weights)},
    )


def every_plan(asked):
    """All plans that the device can run, feasible or not."""
    weights, groups = asked.weight_widths, asked.activation_widths
    for bits in itertools.product(*weights.values(), *groups.values()):
        plan = BitPlan(
            weight_bits=dict(zip(weights, bits, strict=False)),
            activation_bits={
                **asked.activation_bits,
                **dict(zip(groups, bits[len(weights) :], strict=True)),
            },
        )
        try:
            asked.costs.totals(plan)
        except KeyError:
            continue
        yield plan


def rise_of(asked, plan):
    return asked.objective(asked.chosen(plan))


def brute_force(asked):
    return min((rise_of(asked, p) for p in every_plan(asked) if asked.fits(p)), default=None)


# Multiples of a power of two, so that sums are exact and plans tie often.
SIXTEENTHS = st.integers(1, 60).map(lambda n: n / 16)
RISES = st.integers(-8, 60).map(lambda n: n / 64)
COSTS = st.tuples(st.integers(1, 60), SIXTEENTHS, SIXTEENTHS)
WIDTHS = (4, 8, 16)


@st.composite
def by_input(draw, stored):
    """Costs by input width: the same for all, one for each, or some widths only."""
    kind = draw(st.sampled_from(("same", "each", "some")))
    if kind == "same":
        return dict.fromkeys(stored, draw(COSTS))
    offered = stored if kind == "each" else draw(st.sets(st.sampled_from(stored), min_size=1))
    return {bits: draw(COSTS) for bits in sorted(offered)}


@st.composite
def tables(draw):
    """Costs and scores of up to three layers on up to three groups."""
    stored = tuple(sorted(draw(st.sets(st.sampled_from(WIDTHS), min_size=2))))
    groups = "xyz"[: draw(st.integers(1, 3))]
    reads, layers = {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        reads[name] = tuple(sorted(draw(st.sets(st.sampled_from(groups), min_size=1, max_size=2))))
        bits = draw(st.sets(st.sampled_from((2, 4, 8)), min_size=1, max_size=2))
        layers[name] = {w: draw(by_input(stored)) for w in sorted(bits)}
        layers[name][8] = {a: draw(COSTS) for a in stored}  # so that every width is some plan's
    live = st.dictionaries(st.sampled_from(groups), st.integers(1, 40), min_size=1)
    steps = {f"step{at}": draw(live) for at in range(draw(st.integers(1, 3)))}
    costs = make_costs(layers, steps, reads=reads, stored=stored, reserve=draw(st.integers(0, 9)))
    weights = {name: {w: draw(RISES) for w in widths} for name, widths in layers.items()}
    activations = {group: {a: draw(RISES) for a in stored} for group in costs.groups}
    return make_scores(weights, activations), costs


@st.composite
def problems(draw):
    """A problem whose every limit lies at, just below or just above the cost of some plan."""
    scores, costs = draw(tables())
    plans = list(every_plan(problem(scores, costs, Budget())))
    limits = {}
    for metric, step in zip(METRICS, (1, 1, 1 / 16, 1 / 16), strict=True):
        if draw(st.booleans()):
            total = costs.totals(draw(st.sampled_from(plans)))[metric]
            limits[BUDGET_NAMES[metric]] = max(
                total + step * draw(st.sampled_from((-1, 0, 0, 1))), step
            )
    return problem(scores, costs, Budget(**limits))


@settings(max_examples=30, deadline=None)
@given(asked=problems())
def test_exact_finds_the_optimum_of_all_plans(asked):
    best = brute_force(asked)
    if best is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Exact().solve(asked)
        return
    found = Exact().solve(asked)
    assert asked.fits(found.plan)
    assert found.objective == pytest.approx(best, abs=1e-12)
    assert found.objective == rise_of(asked, found.plan)
    assert found.status == "optimal"


@settings(max_examples=30, deadline=None)
@given(asked=problems())
def test_greedy_keeps_every_budget_and_leaves_no_upgrade_that_fits(asked):
    best = brute_force(asked)
    if best is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Greedy().solve(asked)
        return
    found = Greedy().solve(asked)
    assert asked.fits(found.plan)
    assert found.objective >= best - 1e-12
    chosen = asked.chosen(found.plan)
    for slot in range(asked.choices.slots):
        before, after = asked.choices.changes(chosen, slot)
        for moved in after.T:
            other = chosen.copy()
            other[asked.choices.slot[before]] = moved
            better = asked.objective(other) < found.objective - 1e-12
            assert not (better and asked.fits(asked.plan(other, "upgraded")))


@settings(max_examples=30, deadline=None)
@given(asked=problems(), measured=st.booleans())
def test_sigma_keeps_every_budget(asked, measured):
    best = brute_force(asked)
    measure = (lambda plan: rise_of(asked, plan)) if measured else None
    if best is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Sigma().solve(asked, measure)
        return
    found = Sigma().solve(asked, measure)
    assert asked.fits(found.plan)
    assert found.objective == rise_of(asked, found.plan) >= best - 1e-12
    assert found.totals == asked.costs.totals(found.plan)


@settings(max_examples=30, deadline=None)
@given(asked=problems(), seed=st.integers(0, 9))
def test_refine_never_measures_worse_than_its_start_and_no_neighbour_is_better(asked, seed):
    if brute_force(asked) is None:
        with pytest.raises(InfeasibleError, match="Nearest feasible budget"):
            Refine().solve(asked, lambda plan: 1.0)
        return
    plans = [str(asked.chosen(plan)) for plan in every_plan(asked)]
    losses = dict(zip(plans, np.random.default_rng(seed).random(len(plans)), strict=True))
    strategy = Refine(measurements=999, patience=999)
    found = strategy.solve(asked, lambda plan: losses[str(asked.chosen(plan))])
    assert asked.fits(found.plan)
    loss = losses[str(asked.chosen(found.plan))]
    assert loss <= losses[str(asked.chosen(Exact().solve(asked).plan))]
    for move in promising_moves(asked, asked.chosen(found.plan)):
        assert losses[str(move)] >= loss


@settings(max_examples=30, deadline=None)
@given(asked=problems(), data=st.data())
def test_moves_lead_to_every_other_width_of_one_slot(asked, data):
    fitting = [asked.chosen(plan) for plan in every_plan(asked) if asked.fits(plan)]
    if not fitting:
        return
    chosen = data.draw(st.sampled_from(fitting))
    found = {tuple(move) for move in promising_moves(asked, chosen)}
    assert found <= {tuple(plan) for plan in fitting}
    for slot in range(asked.choices.slots):
        before, after = asked.choices.changes(chosen, slot)
        for changed in after.T[(after >= 0).all(axis=0)]:
            moved = chosen.copy()
            moved[asked.choices.slot[before]] = changed
            if asked.fits(asked.plan(moved, "move")) and not (moved == chosen).all():
                assert tuple(moved) in found


@settings(max_examples=30, deadline=None)
@given(asked=problems())
def test_feasible_is_what_brute_force_finds_and_the_nearest_budget_is_feasible(asked):
    found = reachable(asked.costs, asked.budget)
    assert found.feasible == (brute_force(asked) is not None)
    plans = [asked.costs.totals(plan) for plan in every_plan(asked)]
    for metric in METRICS:
        assert found.metrics[metric].least == min(totals[metric] for totals in plans)
        assert found.metrics[metric].most == max(totals[metric] for totals in plans)
    if not found.feasible:
        nearest = {BUDGET_NAMES[m]: rounded_up(m, v) for m, v in found.nearest.items()}
        assert check_feasible(asked.costs, Budget(**nearest)).feasible


@settings(max_examples=30, deadline=None)
@given(asked=problems(), metric=st.sampled_from(METRICS), max_rise=RISES)
def test_least_is_the_cheapest_of_all_plans_within_the_rise(asked, metric, max_rise):
    fitting = [p for p in every_plan(asked) if asked.fits(p) and rise_of(asked, p) <= max_rise]
    if not fitting:
        with pytest.raises(InfeasibleError):
            least(asked, metric, max_rise)
        return
    found = least(asked, metric, max_rise)
    cheapest = min(asked.costs.totals(p)[metric] for p in fitting)
    assert found.totals[metric] == pytest.approx(cheapest)
    assert found.objective <= max_rise
    assert asked.fits(found.plan)
    assert found.status == "optimal"


@settings(max_examples=20, deadline=None)
@given(
    asked=problems(),
    metrics=st.sampled_from(
        (
            ("rise", "peak_ram_bytes"),
            ("peak_ram_bytes", "latency_ms"),
            ("rise", "peak_ram_bytes", "energy_uj"),
            ("rise", "flash_bytes"),
        )
    ),
)
def test_every_point_of_a_front_is_on_the_true_front(asked, metrics):
    def values(plan):
        known = {**asked.costs.totals(plan), "rise": rise_of(asked, plan)}
        return tuple(known[metric] for metric in metrics)

    def dominates(one, other):
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    fitting = {values(plan) for plan in every_plan(asked) if asked.fits(plan)}
    if not fitting:
        return
    truth = {v for v in fitting if not any(dominates(other, v) for other in fitting)}
    front = pareto(asked, metrics, points=6)
    found = [values(point.plan) for point in front.points]
    assert set(found) <= truth
    assert front.proven
    for at in range(len(metrics)):
        assert min(v[at] for v in found) == min(v[at] for v in truth)


@settings(max_examples=30, deadline=None)
@given(asked=problems())
def test_no_group_leaves_its_native_width_for_nothing(asked):
    if brute_force(asked) is None:
        return
    for strategy in (Exact(), Greedy()):
        found = strategy.solve(asked)
        for group, native in asked.activation_bits.items():
            if found.plan.activation_bits[group] < native:
                back = {**found.plan.activation_bits, group: native}
                plan = found.plan.model_copy(update={"activation_bits": back})
                runs = plan in list(every_plan(asked))
                assert not (runs and asked.fits(plan) and rise_of(asked, plan) <= found.objective)


@settings(max_examples=30, deadline=None)
@given(table=tables(), data=st.data())
def test_more_budget_never_makes_the_optimum_worse(table, data):
    metric = data.draw(st.sampled_from(METRICS))
    limits = sorted(data.draw(st.tuples(st.integers(1, 120), st.integers(1, 120))))
    objectives = []
    for limit in limits:
        try:
            found = Exact().solve(problem(*table, Budget(**{BUDGET_NAMES[metric]: limit})))
            objectives.append(found.objective)
        except InfeasibleError:
            objectives.append(float("inf"))
    assert objectives[1] <= objectives[0]


# By hand

COST = (10, 1.0, 1.0)


def one_cost(layers, inputs, cost=COST):
    """The same costs at every pair of widths."""
    return {name: {w: dict.fromkeys(inputs, cost) for w in (4, 8)} for name in layers}


def chain(activations, *, budget=None, stored=(4, 8), cost=COST):
    """Two layers on two groups; 120 bytes of RAM at 8 bits, 60 at 4."""
    costs = make_costs(
        one_cost("ab", stored, cost),
        {"stem": {"x": 100, "y": 20}, "head": {"y": 20}},
        reads={"a": ("x",), "b": ("y",)},
        stored=stored,
    )
    weights = {name: {4: 0.5, 8: 0.0} for name in "ab"}
    return problem(make_scores(weights, activations), costs, budget or Budget())


def falling(*widths):
    return {bits: 1.0 / bits for bits in widths}


def test_activations_stay_native_where_nothing_needs_narrower_ones():
    asked = chain({"x": falling(4, 8), "y": falling(4, 8)}, budget=Budget(ram=120))
    for strategy in (Exact(), Greedy()):
        assert strategy.solve(asked).plan.activation_bits == {"x": 8, "y": 8}


@pytest.mark.parametrize(
    ("ram", "widths"), [(119, (8, 4)), (110, (8, 4)), (109, (4, 8)), (70, (4, 8)), (60, (4, 4))]
)
def test_only_the_groups_that_the_ram_needs_are_narrowed(ram, widths):
    asked = chain({"x": falling(4, 8), "y": {4: 0.15, 8: 0.1}}, budget=Budget(ram=ram))
    found = Exact().solve(asked)
    assert tuple(found.plan.activation_bits.values()) == widths
    assert found.totals["peak_ram_bytes"] <= ram


@pytest.mark.parametrize("narrow", [0.2, 0.1, -0.3])
def test_noise_and_ties_narrow_nothing(narrow):
    asked = chain({"x": {4: narrow, 8: 0.2}, "y": {4: 0.2, 8: 0.2}})
    for strategy in (Exact(), Greedy()):
        assert strategy.solve(asked).plan.activation_bits == {"x": 8, "y": 8}
    assert least(asked, "flash_bytes", 9.0).plan.activation_bits == {"x": 8, "y": 8}


def test_wider_than_native_takes_a_gain_above_its_standard_error():
    scores = {8: (0.20, 0.03), 16: (0.16, 0.03)}
    noisy = chain({"x": scores, "y": scores}, stored=(8, 16))
    assert Exact().solve(noisy).plan.activation_bits == {"x": 8, "y": 8}
    sure = chain({"x": scores, "y": {8: (0.20, 0.03), 16: (0.15, 0.03)}}, stored=(8, 16))
    assert Exact().solve(sure).plan.activation_bits == {"x": 8, "y": 16}


def test_a_width_is_worse_than_the_next_wider_one_up_to_the_native():
    scores = {b: Score(rise=r) for b, r in {2: 0.1, 3: 0.4, 4: 0.3, 8: 0.2, 16: 0.2}.items()}
    rises = settled(scores, native=8, trifle=1e-3)
    assert rises == pytest.approx({2: 0.402, 3: 0.4, 4: 0.3, 8: 0.2, 16: 0.201}, abs=1.1e-3)
    assert list(rises) == [2, 3, 4, 8, 16]
    assert rises[2] > rises[3] > rises[4] > rises[8] < rises[16]


def test_a_wide_group_is_bought_with_what_narrow_weights_save():
    # 12 uJ: either both layers have 8 bits and 4-bit inputs, or one of each is given up.
    energy = {(4, 4): 1.0, (8, 4): 2.0, (4, 8): 2.0, (8, 8): 4.0}
    layers = {
        name: {w: {a: (10, 1.0, energy[w, a]) for a in (4, 8)} for w in (4, 8)} for name in "ab"
    }
    costs = make_costs(layers, {}, reads={"a": ("x",), "b": ("y",)})
    weights = {name: {4: 0.5, 8: 0.0} for name in "ab"}
    scores = make_scores(weights, {"x": {4: 0.1, 8: 0.0}, "y": {4: 0.9, 8: 0.0}})
    found = Exact().solve(problem(scores, costs, Budget(energy=4.0)))
    assert found.plan.weight_bits == {"a": 8, "b": 4}
    assert found.plan.activation_bits == {"x": 4, "y": 8}


def test_the_widest_input_of_a_layer_counts():
    layers = {"a": {8: {4: (1, 1.0, 1.0), 8: (1, 5.0, 1.0)}}}
    costs = make_costs(layers, {}, reads={"a": ("x", "y")})
    scores = make_scores({"a": {8: 0.0}}, {"x": falling(4, 8), "y": {4: 0.3, 8: 0.0}})
    asked = problem(scores, costs, Budget(latency=4.0))
    for strategy in (Exact(), Greedy()):
        assert strategy.solve(asked).plan.activation_bits == {"x": 4, "y": 4}
    assert Exact().solve(problem(scores, costs, Budget())).plan.activation_bits == {"x": 8, "y": 8}


def test_a_group_has_the_widths_that_all_its_readers_run():
    layers = {
        "a": {8: {4: COST, 8: COST, 16: COST}},
        "b": {4: {8: COST}, 8: {8: COST, 16: COST}},
    }
    costs = make_costs(layers, {}, reads={"a": ("x",), "b": ("x",)}, stored=(4, 8, 16))
    assert costs.activation_widths("x") == costs.activation_choices == (8, 16)
    scores = make_scores({"a": {8: 0.0}, "b": {4: 0.5, 8: 0.1}}, {"x": {8: 0.3, 16: 0.0}})
    asked = problem(scores, costs, Budget())
    assert asked.activation_widths == {"x": (8, 16)}
    assert Exact().solve(asked).plan.activation_bits == {"x": 16}


def test_readers_without_a_common_width_are_named():
    layers = {"a": {8: {4: COST}}, "b": {8: {8: COST}}}
    costs = make_costs(layers, {}, reads={"a": ("x",), "b": ("x",)})
    with pytest.raises(DeviceError, match="no activation width at which all of a, b run"):
        check_feasible(costs, Budget())


def test_unscored_activations_have_the_native_width():
    costs = chain({}).costs
    scores = make_scores({"a": {4: 0.5, 8: 0.0}, "b": {4: 0.5, 8: 0.0}}, {})
    assert problem(scores, costs, Budget()).activation_bits == {"x": 8, "y": 8}
    some = chain({"x": falling(4, 8), "y": {4: 0.1}})
    assert (some.activation_widths, some.activation_bits["y"]) == ({"x": (4, 8)}, 8)
    given = problem(scores, costs, Budget(), activation_bits=4)
    assert (given.activation_widths, given.activation_bits) == ({}, {"x": 4, "y": 4})


def test_a_score_that_is_not_finite_names_the_activations():
    with pytest.raises(ArtifactError, match="no finite score for the activations x at 4 bits"):
        chain({"x": {4: float("nan"), 8: 0.0}})


def test_a_device_with_one_width_is_asked_what_it_always_was():
    both = {"x": falling(4, 8), "y": falling(4, 8)}
    asked = chain(both, stored=(8,))
    assert (asked.choices.groups, asked.choices.slots) == ((), 2)
    assert asked.costs.activation_choices == ()
    with pytest.raises(ConfigError, match=r"these can: flash_bytes, latency_ms, energy_uj$"):
        least(asked, "peak_ram_bytes", 1.0)


def test_ram_out_of_reach_names_the_step_its_tensors_and_the_way_out():
    costs = chain({}).costs.model_copy(update={"ram_reserve_bytes": 40})
    with pytest.raises(InfeasibleError) as caught:
        check_feasible(costs, Budget(ram=99))
    assert str(caught.value) == (
        "ram of 99 B cannot be met on toy: with the narrowest activations the peak is 100 B, at "
        "stem, where x.out takes 50%, the reserve takes 40% and y.out takes 10%; a smaller input "
        "lowers it. Nearest feasible budget: raise ram to 100 B."
    )
    with pytest.raises(InfeasibleError, match="with 8-bit activations the peak is 160 B"):
        check_feasible(costs, Budget(ram=99), activation_bits=8)
    assert reachable(costs, Budget(ram=160)).slack_budgets() == (
        "ram of 160 B is slack: the costliest plan takes 160 B",
    )


def test_ram_may_conflict_with_another_budget():
    # Narrow inputs take wide weights here.
    layers = {"a": {4: {8: (40, 1.0, 1.0)}, 8: {4: (80, 1.0, 1.0), 8: (80, 1.0, 1.0)}}}
    costs = make_costs(layers, {"step": {"x": 100}}, reads={"a": ("x",)})
    found = reachable(costs, Budget(flash=50, ram=60))
    assert found.conflict.limits == {"flash_bytes": 50, "peak_ram_bytes": 60}
    assert found.conflict.alternatives == {"flash_bytes": 80, "peak_ram_bytes": 100}
    assert found.nearest == {"flash_bytes": 80, "peak_ram_bytes": 60}


def test_uniform_plans_have_the_largest_activations_that_fit():
    activations = {"x": falling(4, 6, 8), "y": falling(4, 6, 8)}
    for ram, suffix, bits in (
        (120, "", 8),
        (119, ", activations 6", 6),
        (60, ", activations 4", 4),
    ):
        asked = chain(activations, stored=(4, 6, 8), budget=Budget(ram=ram))
        found = never_worse_than_uniform(asked, Exact().solve(asked))
        rivals = [c.plan for c in found.comparison[1:]]
        assert rivals[0].origin == f"uniform 4{suffix}"
        assert all(set(plan.activation_bits.values()) == {bits} for plan in rivals)
        assert all(c.feasible for c in found.comparison)
    assert uniform_plans(asked.costs)[0].activation_bits == {"x": 8, "y": 8}
    assert uniform_plans(asked.costs, 4)[0].activation_bits == {"x": 4, "y": 4}


def test_close_calls_tell_groups_from_layers():
    sure = {4: (0.5, 0.0), 8: (0.0, 0.0)}
    close = {4: (0.100, 0.02), 8: (0.099, 0.02)}
    costs = make_costs(
        one_cost("ab", (4, 8)),
        {"stem": {"x": 100, "y": 100}},
        reads={"a": ("x",), "b": ("y",)},
    )
    scores = make_scores({"a": sure, "b": sure}, {"x": close, "y": close})
    asked = problem(scores, costs, Budget(ram=150))
    (call,) = close_calls(asked, asked.choices.index({"a": 8, "b": 8}, {"x": 8, "y": 4}))
    assert (call.raised, call.raised_bits, call.lowered, call.lowered_bits) == ("y", 8, "x", 4)
    assert call.groups == ("y", "x")
    assert call.standard_error == pytest.approx(0.04)


@pytest.mark.parametrize("strategy", ["exact", "greedy", "sigma", "refine"])
def test_every_strategy_narrows_what_it_must(strategy):
    asked = chain({"x": falling(4, 8), "y": falling(4, 8)}, budget=Budget(ram=70))
    scores = asked.scores.model_copy(update={"weight_sigmas": {"a": 0.1, "b": 0.2}})
    found = search(scores, asked.costs, asked.budget, strategy, measure=lambda plan: 1.0)
    assert found.totals["peak_ram_bytes"] <= 70
    assert found.plan.weight_bits == {"a": 8, "b": 8}


def test_the_solution_survives_its_own_file(tmp_path):
    asked = chain({"x": falling(4, 8), "y": falling(4, 8)}, budget=Budget(ram=70))
    found = search(asked.scores, asked.costs, asked.budget)
    found.save(tmp_path / "solution.json")
    assert Solution.load(tmp_path / "solution.json") == found


# Speed

ACTIVATION_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)


def large_problem(slots, seed, per_input):
    """So many layers, each on a group of its own, with four budgets of which each one binds."""
    rng = np.random.default_rng(seed)
    sizes, layers, weights, activations = [], {}, {}, {}
    for at in range(slots):
        count, pixels, power = rng.lognormal(9, 1.5), rng.lognormal(4, 1), rng.uniform(0.5, 2)
        sizes.append(int(rng.lognormal(9, 1)))
        rise, input_rise = rng.lognormal(-4, 1.5), rng.lognormal(-5, 1.5)
        macs = count * pixels * 1e-6
        layers[f"layer{at}"] = {
            w: {
                a: (int(count * w / 8), macs * (w + 9) / 17, macs * (w + 3 + per_input * a) * power)
                for a in ACTIVATION_WIDTHS
            }
            for w in range(2, 9)
        }
        weights[f"layer{at}"] = {w: rise * 4.0 ** (2 - w) for w in range(2, 9)}
        activations[f"group{at}"] = {a: input_rise * 4.0 ** (2 - a) for a in ACTIVATION_WIDTHS}
    steps = {
        f"layer{at}": {f"group{near % slots}": sizes[near % slots] for near in range(at, at + 3)}
        for at in range(slots)
    }
    reads = {f"layer{at}": (f"group{at}",) for at in range(slots)}
    costs = make_costs(layers, steps, reads=reads, stored=ACTIVATION_WIDTHS)
    scores = make_scores(weights, activations)
    reach = reachable(costs, Budget()).metrics
    half = {m: (reach[m].least + reach[m].most) / 2 for m in ("flash_bytes", "latency_ms")}
    half["energy_uj"] = (2 * reach["energy_uj"].least + reach["energy_uj"].most) / 3
    native = reachable(costs, Budget(), activation_bits=8).metrics["peak_ram_bytes"].least
    limits = {BUDGET_NAMES[m]: limit for m, limit in half.items()}
    return problem(scores, costs, Budget(**limits, ram=0.6 * native))


@pytest.mark.parametrize(("per_input", "seconds"), [(0, 5.0), (1, 20.0)])
def test_two_hundred_layers_and_groups_with_four_budgets_are_proven(per_input, seconds):
    asked = large_problem(200, seed=1, per_input=per_input)
    started = time.process_time()
    found = Exact().solve(asked)
    assert time.process_time() - started < seconds
    assert (found.status, found.gap) == ("optimal", 0.0)
    assert asked.fits(found.plan)
    assert min(found.plan.activation_bits.values()) < 8
