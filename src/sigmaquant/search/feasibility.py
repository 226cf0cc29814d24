"""What the device can reach at all, before anything expensive is computed.

Each metric alone is exact: additive ones take every layer's smallest cost, and peak RAM is the
same for every choice of weight widths. All together is a mixed-integer program (see
``integer_program``): a layer may have its least flash, latency and energy at different widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import METRICS, Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.errors import InfeasibleError
from sigmaquant.search.choices import ADDITIVE, Choices, IntArray, same_activations
from sigmaquant.search.core import minimise_from
from sigmaquant.search.integer_program import Outcome, budget_caps, minimise
from sigmaquant.search.problem import Problem
from sigmaquant.search.reachability import Conflict, MetricReach, Reachability, Share

_TIME_LIMIT_SECONDS = 20.0
"""For each of the programs below; they end in milliseconds unless budgets barely conflict."""
_CHEAP_ENOUGH = 0.01
"""A fitting plan is only a start for others: within 1 % of the cheapest is enough."""
_BLAMED = 3
"""How many places a message names."""


def reachable(costs: CostTable, budget: Budget, activation_bits: int = 8) -> Reachability:
    """The least value of every metric alone, and of all budgets together.

    Raises:
        DeviceError: a layer cannot run, or activations of that width cannot be stored.
        InfeasibleError: the budgets can be met one by one, and the time limit ended the search
            for a plan that meets them together.
    """
    activations = same_activations(costs, activation_bits)
    return _survey(costs, Choices.of(costs, activations), activations, budget.limits())


def check_feasible(costs: CostTable, budget: Budget, activation_bits: int = 8) -> Reachability:
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
    """The narrowest widths, or where these break a budget a cheap plan that does not: (layers,).

    Raises:
        InfeasibleError: as ``check_feasible``.
    """
    limits = problem.budget.limits()
    lowest = problem.choices.starts[:-1]
    if problem.fits(problem.plan(lowest, "lowest")):
        return lowest
    found = _survey(problem.costs, problem.choices, problem.activation_bits, limits)
    fitting = fitting_plan(problem.choices, limits) if found.feasible else None
    if fitting is None:
        raise InfeasibleError(found.why_infeasible())
    return fitting


def fitting_plan(choices: Choices, limits: Mapping[str, float]) -> IntArray | None:
    """A cheap plan that meets the limits on additive metrics; None where there is none.

    Cheap is a small sum of the shares that it takes of the limits.

    Raises:
        InfeasibleError: the time limit was reached without a plan and without a proof.
    """
    caps = budget_caps(choices, limits)
    shares = sum((cap.values / cap.unit for cap in caps), np.zeros(len(choices)))
    for values in (shares, *(cap.values for cap in caps)):
        chosen = choices.smallest(values)
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
    plan = BitPlan(
        weight_bits=choices.bits(choices.starts[:-1]), activation_bits=dict(activation_bits)
    )
    metrics = {
        metric: _additive_reach(choices, metric, limits.get(metric))
        if metric in ADDITIVE
        else _ram_reach(costs, plan, limits.get(metric))
        for metric in METRICS
    }
    raised = {metric: max(limit, metrics[metric].least) for metric, limit in limits.items()}
    conflict = _conflict(choices, raised)
    return Reachability(
        device=costs.device,
        activation_bits=max(activation_bits.values(), default=0),
        metrics=metrics,
        conflict=conflict,
        nearest=_nearest(choices, raised, conflict),
    )


def _additive_reach(choices: Choices, metric: str, limit: float | None) -> MetricReach:
    values = choices.costs[metric]
    cheapest = choices.smallest(values)
    least = choices.total(metric, cheapest)
    spent = dict(zip(choices.layers, values[cheapest].tolist(), strict=True))
    spent["everything outside the layers"] = choices.fixed[metric]
    largest = sorted(spent, key=lambda place: -spent[place])[:_BLAMED]
    return MetricReach(
        metric=metric,
        limit=limit,
        least=least,
        most=choices.total(metric, choices.smallest(-values)),
        largest=tuple(Share(place=p, share=spent[p] / least) for p in largest if spent[p] > 0),
    )


def _ram_reach(costs: CostTable, plan: BitPlan, limit: float | None) -> MetricReach:
    peak = costs.peak_ram_bytes(plan)
    steps = [(step.name, costs.step_bytes(plan, step)) for step in costs.ram_steps]
    largest = sorted(steps, key=lambda step: -step[1])[:_BLAMED]
    return MetricReach(
        metric="peak_ram_bytes",
        limit=limit,
        least=peak,
        most=peak,
        largest=tuple(Share(place=name, share=size / peak) for name, size in largest if size > 0),
    )


def _conflict(choices: Choices, limits: Mapping[str, float]) -> Conflict | None:
    """Why limits that are reachable one by one cannot be met together, if they cannot."""
    if fitting_plan(choices, limits) is not None:
        return None
    additive = {metric: limits[metric] for metric in ADDITIVE if metric in limits}
    pairs = (dict(pair) for pair in combinations(additive.items(), 2))
    together = next((pair for pair in pairs if fitting_plan(choices, pair) is None), additive)
    least = {
        metric: _least(choices, metric, {m: v for m, v in additive.items() if m != metric})
        for metric in additive
    }
    return Conflict(
        limits=together,
        alternatives={metric: value for metric, value in least.items() if value is not None},
    )


def _least(choices: Choices, metric: str, limits: Mapping[str, float]) -> float | None:
    """Least value of one metric within limits on the others; None where no plan meets those."""
    caps = budget_caps(choices, limits)
    values = choices.costs[metric]
    answer = minimise(choices, values, caps, time_limit_seconds=_TIME_LIMIT_SECONDS)
    return None if answer.chosen is None else choices.total(metric, answer.chosen)


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
    first, *others = (m for m in ADDITIVE if m in limits)
    raised, kept = dict(limits), {first: limits[first]}
    chosen = choices.smallest(choices.costs[first])
    for metric in others:
        answer = minimise_from(
            choices,
            choices.costs[metric],
            budget_caps(choices, kept),
            start=chosen,
            time_limit_seconds=_TIME_LIMIT_SECONDS,
        )
        assert answer.chosen is not None
        chosen = answer.chosen
        raised[metric] = kept[metric] = max(limits[metric], choices.total(metric, chosen))
    return raised
