"""Uniform plans, and the promise that no answer is worse than one of them.

Summed scores are a model: the layers' losses are taken to add up. Where they do not, a plan that
looks better may measure worse than the same width everywhere, so the answer is held against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs.table import CostTable
from sigmaquant.search.choices import Choices, same_activations
from sigmaquant.search.close_calls import close_calls
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Comparison, Solution

Measure = Callable[[BitPlan], float]
"""The loss of a plan, measured; smaller is better."""


def uniform_plans(costs: CostTable, activation_bits: int = 8) -> tuple[BitPlan, ...]:
    """The same width everywhere, as nearly as the device can: one plan for each of its widths.

    A layer that cannot run at a width gets its next wider one, or its widest. Widths that come to
    the same plan are listed once, under the narrowest.

    Raises:
        DeviceError: a layer cannot run at that activation width.
    """
    activations = same_activations(costs, activation_bits)
    return _uniform(Choices.of(costs, activations), activations)


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
    others = _uniform(problem.choices, problem.activation_bits)
    plans = [own, *(plan for plan in others if plan.weight_bits != own.weight_bits)]
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


def _uniform(choices: Choices, activation_bits: Mapping[str, int]) -> tuple[BitPlan, ...]:
    plans: dict[tuple[int, ...], BitPlan] = {}
    for bits in np.unique(choices.weight_bits).tolist():
        narrower = (choices.weight_bits < bits).astype(np.int64)
        short_of = np.add.reduceat(narrower, choices.starts[:-1])
        chosen = np.minimum(choices.starts[:-1] + short_of, choices.starts[1:] - 1)
        plan = BitPlan(
            weight_bits=choices.bits(chosen),
            activation_bits=dict(activation_bits),
            origin=f"uniform {bits}",
        )
        plans.setdefault(tuple(plan.weight_bits.values()), plan)
    return tuple(plans.values())


def _loss(problem: Problem, plan: BitPlan, measure: Measure | None) -> float | None:
    if measure is None:
        return problem.objective(problem.choices.index(plan.weight_bits))
    loss = measure(plan)
    return loss if math.isfinite(loss) else None


def _replaced(problem: Problem, solution: Solution, plan: BitPlan) -> Solution:
    chosen = problem.choices.index(plan.weight_bits)
    return solution.model_copy(
        update={
            "plan": plan,
            "objective": problem.objective(chosen),
            "objective_standard_error": problem.standard_error(chosen),
            "totals": problem.costs.totals(plan),
            "status": "feasible",
            "gap": None,
            "close_calls": close_calls(problem, chosen),
        }
    )
