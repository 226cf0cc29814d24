"""What the device can reach at all, before anything expensive is computed.

Each metric alone is exact: additive ones take every layer's smallest cost, peak RAM every group's
narrowest width. All together is a mixed-integer program (see ``integer_program``): a layer may have
its least flash, latency and energy at different widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import METRICS, Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.errors import InfeasibleError
from sigmaquant.search.activations import offered_activations
from sigmaquant.search.arrays import IntArray
from sigmaquant.search.choices import PEAK_RAM, Choices
from sigmaquant.search.core import minimise_from
from sigmaquant.search.integer_program import (
    Answer,
    Outcome,
    budget_caps,
    cheapest,
    minimise,
    minimise_peak,
)
from sigmaquant.search.problem import Problem
from sigmaquant.search.reachability import Conflict, MetricReach, Reachability, Share

_TIME_LIMIT_SECONDS = 20.0
"""For each of the programs below; they end in milliseconds unless budgets barely conflict."""
_CHEAP_ENOUGH = 0.01
"""A fitting plan is only a start for others: within 1 % of the cheapest is enough."""
_BLAMED = 3
"""How many places a message names."""


def reachable(costs: CostTable, budget: Budget, activation_bits: int | None = None) -> Reachability:
    """The least value of every metric alone, and of all budgets together.

    Args:
        costs: of the network on its device.
        budget: hard limits.
        activation_bits: of all activations; by default every width that the device has may be
            chosen.

    Raises:
        DeviceError: a layer cannot run, or activations of that width cannot be stored.
        InfeasibleError: the budgets can be met one by one, and the time limit ended the search
            for a plan that meets them together.
    """
    widths = offered_activations(costs, activation_bits)
    return _survey(costs, Choices.of(costs, widths), _narrowest(widths), budget.limits())


def check_feasible(
    costs: CostTable, budget: Budget, activation_bits: int | None = None
) -> Reachability:
    """As ``reachable``, but refuse budgets that no plan meets.

    Raises:
        DeviceError: as ``reachable``.
        InfeasibleError: names the budget, the least reachable value, what is to blame for it, and
            the nearest feasible budget.
    """
    found = reachable(costs, budget, activation_bits)
    if not found.feasible:
        raise InfeasibleError(found.why_infeasible())
    return found


def starting_plan(problem: Problem) -> IntArray:
    """The narrowest widths, or where these break a budget a cheap plan that does not: (slots,).

    Raises:
        InfeasibleError: as ``check_feasible``.
    """
    choices, limits = problem.choices, problem.budget.limits()
    lowest = choices.agreeing(choices.starts[:-1])
    if problem.fits(problem.plan(lowest, "lowest")):
        return lowest
    found = _survey(problem.costs, choices, problem.activation_bits, limits)
    fitting = fitting_plan(choices, limits) if found.feasible else None
    if fitting is None:
        raise InfeasibleError(found.why_infeasible())
    return fitting


def native_plan(problem: Problem) -> IntArray:
    """The narrowest weights with activations at their native width: (slots,)."""
    choices, native = problem.choices, problem.activation_bits
    first = len(choices.layers)
    chosen = choices.starts[:-1].copy()
    for slot, group in enumerate(choices.groups, start=first):
        own = choices.activation_bits[choices.starts[slot] : choices.starts[slot + 1]]
        chosen[slot] += np.searchsorted(own, native[group])
    return choices.agreeing(chosen)


def fitting_plan(choices: Choices, limits: Mapping[str, float]) -> IntArray | None:
    """A cheap plan that meets the limits; None where there is none.

    Cheap is a small sum of the shares that it takes of the limits.

    Raises:
        InfeasibleError: the time limit was reached without a plan and without a proof.
    """
    caps = budget_caps(choices, limits)
    shares = sum((cap.values / cap.unit for cap in caps), np.zeros(len(choices)))
    for values in (shares, *(cap.values for cap in caps)):
        chosen = choices.agreeing(choices.smallest(values))
        if all(cap.holds(chosen) for cap in caps):
            return chosen
    answer = minimise(
        choices,
        shares,
        caps,
        time_limit_seconds=_TIME_LIMIT_SECONDS,
        relative_gap=_CHEAP_ENOUGH,
    )
    if answer.chosen is None and answer.outcome is Outcome.STOPPED:
        raise InfeasibleError(
            f"no plan that meets all budgets was found in {_TIME_LIMIT_SECONDS:.0f} s, and none "
            "was ruled out; raise the budgets a little"
        )
    return answer.chosen


def _survey(
    costs: CostTable,
    choices: Choices,
    activation_bits: Mapping[str, int],
    limits: Mapping[str, float],
) -> Reachability:
    metrics = {
        metric: _ram_reach(costs, choices, activation_bits, limits.get(metric))
        if metric == PEAK_RAM
        else _additive_reach(choices, metric, limits.get(metric))
        for metric in METRICS
    }
    raised = {metric: max(limit, metrics[metric].least) for metric, limit in limits.items()}
    conflict = _conflict(choices, raised)
    return Reachability(
        device=costs.device,
        activation_bits=max(activation_bits.values(), default=0),
        activations_chosen=bool(choices.groups),
        metrics=metrics,
        conflict=conflict,
        nearest=_nearest(choices, raised, conflict),
    )


def _narrowest(widths: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {group: offered[0] for group, offered in widths.items()}


def _additive_reach(choices: Choices, metric: str, limit: float | None) -> MetricReach:
    values = choices.costs[metric]
    least_plan = cheapest(choices, values, _TIME_LIMIT_SECONDS)
    costliest = cheapest(choices, -values, _TIME_LIMIT_SECONDS)
    least = choices.total(metric, least_plan)
    of_layers = values[least_plan[: len(choices.layers)]].tolist()
    spent = dict(zip(choices.layers, of_layers, strict=True))
    spent["everything outside the layers"] = choices.fixed[metric]
    return MetricReach(
        metric=metric,
        limit=limit,
        least=least,
        most=choices.total(metric, costliest),
        largest=_shares(spent, least),
    )


def _ram_reach(
    costs: CostTable,
    choices: Choices,
    activation_bits: Mapping[str, int],
    limit: float | None,
) -> MetricReach:
    """The peak with every group at the width that takes least, and what is in memory there."""
    narrowest = choices.smallest(choices.ram.values.sum(axis=0))
    plan = BitPlan(
        weight_bits={},
        activation_bits={**activation_bits, **choices.group_bits(narrowest)},
    )
    peak = costs.peak_ram_bytes(plan)
    steps = {step.name: costs.step_bytes(plan, step) for step in costs.ram_steps}
    step = max(costs.ram_steps, key=lambda step: costs.step_bytes(plan, step), default=None)
    tensors: dict[str, float] = {}
    if step is not None and step.tensors:
        tensors = dict(zip(step.tensors, costs.tensor_bytes(plan, step), strict=True))
        tensors["the reserve"] = costs.ram_reserve_bytes
    return MetricReach(
        metric=PEAK_RAM,
        limit=limit,
        least=peak,
        most=choices.highest_peak,
        largest=_shares(steps, peak),
        at_peak=_shares(tensors, peak),
    )


def _shares(spent: Mapping[str, float], total: float) -> tuple[Share, ...]:
    """The places where most is spent, in falling order."""
    largest = sorted(spent, key=lambda place: -spent[place])[:_BLAMED]
    return tuple(Share(place=p, share=spent[p] / total) for p in largest if spent[p] > 0)


def _conflict(choices: Choices, limits: Mapping[str, float]) -> Conflict | None:
    """Why limits that are reachable one by one cannot be met together, if they cannot."""
    if fitting_plan(choices, limits) is not None:
        return None
    chosen = _chosen(choices, limits)
    pairs = (dict(pair) for pair in combinations(chosen.items(), 2))
    together = next((pair for pair in pairs if fitting_plan(choices, pair) is None), chosen)
    least = {
        metric: _least(choices, metric, {m: v for m, v in chosen.items() if m != metric})
        for metric in chosen
    }
    return Conflict(
        limits=together,
        alternatives={metric: value for metric, value in least.items() if value is not None},
    )


def _chosen(choices: Choices, limits: Mapping[str, float]) -> dict[str, float]:
    """The limits on metrics that depend on what is chosen."""
    return {m: limits[m] for m in METRICS if m in limits and (m != PEAK_RAM or choices.decide_ram)}


def _least(choices: Choices, metric: str, limits: Mapping[str, float]) -> float | None:
    """Least value of one metric within limits on the others; None where no plan meets those."""
    chosen = _least_answer(choices, metric, limits).chosen
    return None if chosen is None else choices.total(metric, chosen)


def _least_answer(
    choices: Choices, metric: str, limits: Mapping[str, float], start: IntArray | None = None
) -> Answer:
    caps = budget_caps(choices, limits)
    if metric == PEAK_RAM:
        return minimise_peak(choices, caps, time_limit_seconds=_TIME_LIMIT_SECONDS, start=start)
    values = choices.costs[metric]
    return minimise_from(choices, values, caps, start=start, time_limit_seconds=_TIME_LIMIT_SECONDS)


def _nearest(
    choices: Choices, limits: Mapping[str, float], conflict: Conflict | None
) -> dict[str, float]:
    """The limits with one raised by the smallest factor or, where that is not enough, several."""
    if conflict is None:
        return dict(limits)
    if conflict.alternatives:
        factor = {m: value / limits[m] for m, value in conflict.alternatives.items()}
        metric = min(factor, key=lambda m: factor[m])
        return {**limits, metric: conflict.alternatives[metric]}
    raised: dict[str, float] = dict(limits)
    kept: dict[str, float] = {}
    start = None
    for metric in _chosen(choices, limits):
        start = _least_answer(choices, metric, kept, start).chosen
        assert start is not None
        kept[metric] = max(limits[metric], choices.total(metric, start))
    return {**raised, **kept}
