"""Uniform plans, and the promise that no answer is worse than one of them.

Summed scores are a model: the layers' losses are taken to add up. Where they do not, a plan that
looks better may measure worse than the same width everywhere, so the answer is held against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs.table import CostTable
from sigmaquant.search.activations import native_width, same_activations
from sigmaquant.search.choices import Choices
from sigmaquant.search.close_calls import close_calls
from sigmaquant.search.measurement import Measure, finite_mean
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Comparison, Solution


def uniform_plans(costs: CostTable, activation_bits: int | None = None) -> tuple[BitPlan, ...]:
    """The same width everywhere, as nearly as the device can: one plan for each of its widths.

    A layer that cannot run at a width gets its next wider one, or its widest. Widths that come to
    the same plan are listed once, under the narrowest. Activations are at the device's native
    width where none is given.

    Raises:
        DeviceError: a layer cannot run at that activation width.
    """
    bits = costs.native_activation_bits if activation_bits is None else activation_bits
    return _uniform(costs, same_activations(costs, bits))


def never_worse_than_uniform(
    problem: Problem, solution: Solution, measure: Measure | None = None
) -> Solution:
    """The best of an answer and all uniform plans within the budget.

    Args:
        problem: what was solved.
        solution: its answer.
        measure: loss of a plan on held-back calibration data, called once for each feasible plan;
            without it the summed scores are compared.

    Returns:
        The answer with its comparison, or in its place the uniform plan of smaller loss; that one
        carries no proof, since scores and not losses are proven.
    """
    assert solution.minimised == "rise", "a plan of least cost is not compared by its loss"
    own = solution.plan
    others = _uniform_within(problem)
    plans = [own, *(plan for plan in others if _widths(plan) != _widths(own))]
    losses = [_loss(problem, plan, measure) if problem.fits(plan) else None for plan in plans]
    best = int(np.argmin([math.inf if loss is None else loss for loss in losses]))
    comparison = tuple(
        Comparison(
            plan=plan,
            flash_bytes=int(problem.costs.totals(plan)["flash_bytes"]),
            feasible=problem.fits(plan),
            loss=loss,
            basis="score" if measure is None else "measured",
            chosen=at == best,
        )
        for at, (plan, loss) in enumerate(zip(plans, losses, strict=True))
    )
    found = solution if best == 0 else _replaced(problem, solution, plans[best])
    return found.model_copy(update={"comparison": comparison})


def _uniform_within(problem: Problem) -> tuple[BitPlan, ...]:
    """Uniform weights with native activations or, where these take too much RAM, narrower ones.

    Then the activations have the largest uniform width that fits, as nearly as the device can.
    """
    limit = problem.budget.peak_ram_bytes
    for bits, activations in _uniform_activations(problem):
        plan = BitPlan(weight_bits={}, activation_bits=activations)
        if limit is None or problem.costs.peak_ram_bytes(plan) <= limit:
            return _uniform(problem.costs, activations, bits)
    return _uniform(problem.costs, dict(problem.activation_bits))


def _uniform_activations(problem: Problem) -> Iterator[tuple[int | None, dict[str, int]]]:
    """Native activations, then the same width everywhere, down from the widest below."""
    native, offered = dict(problem.activation_bits), problem.activation_widths
    yield None, native
    widths = {bits for group, own in offered.items() for bits in own if bits < native[group]}
    for bits in sorted(widths, reverse=True):
        yield bits, {**native, **{group: native_width(own, bits) for group, own in offered.items()}}


def _uniform(
    costs: CostTable, activation_bits: Mapping[str, int], named: int | None = None
) -> tuple[BitPlan, ...]:
    """One plan for each weight width; the origin says the activations' where they are named."""
    choices = Choices.of(costs, {group: (bits,) for group, bits in activation_bits.items()})
    plans: dict[tuple[int, ...], BitPlan] = {}
    for bits in np.unique(choices.weight_bits).tolist():
        plan = BitPlan(
            weight_bits=choices.bits(choices.at_least(bits)),
            activation_bits=dict(activation_bits),
            origin=f"uniform {bits}" + (f", activations {named}" if named else ""),
        )
        plans.setdefault(tuple(plan.weight_bits.values()), plan)
    return tuple(plans.values())


def _widths(plan: BitPlan) -> tuple[dict[str, int], dict[str, int]]:
    return plan.weight_bits, plan.activation_bits


def _loss(problem: Problem, plan: BitPlan, measure: Measure | None) -> float | None:
    if measure is None:
        return problem.objective(problem.chosen(plan))
    return finite_mean(measure(plan))


def _replaced(problem: Problem, solution: Solution, plan: BitPlan) -> Solution:
    chosen = problem.chosen(plan)
    return solution.model_copy(
        update={
            "plan": plan,
            "objective": problem.objective(chosen),
            "objective_standard_error": problem.standard_error(chosen),
            "totals": problem.costs.totals(plan),
            "status": "feasible",
            "gap": None,
            "close_calls": close_calls(problem, chosen),
            "refinement": None,
        }
    )
