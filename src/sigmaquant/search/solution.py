"""What a solver answers: the plan, what it costs, and how sure one can be of it."""

from __future__ import annotations

from typing import Literal

from sigmaquant.artifact import Artifact, Frozen
from sigmaquant.bitplan import BitPlan
from sigmaquant.search.arrays import IntArray
from sigmaquant.search.close_calls import CloseCall, close_calls
from sigmaquant.search.problem import Problem

Status = Literal["optimal", "feasible", "unproven"]


class Comparison(Frozen):
    """One plan in the comparison with uniform plans.

    Attributes:
        plan: with its origin, such as "exact" or "uniform 4".
        flash_bytes: its size.
        feasible: whether it is within the budget; others are neither measured nor chosen.
        loss: measured, or the summed scores; None where infeasible, or where it was not finite.
        basis: which of the two the loss is.
        chosen: whether it is the answer.
    """

    plan: BitPlan
    flash_bytes: int
    feasible: bool
    loss: float | None
    basis: Literal["measured", "score"]
    chosen: bool


class Refinement(Frozen):
    """What a strategy gained by measuring plans.

    Attributes:
        measurements: plans measured, the first one included.
        kept: how many of them improved on the best before.
        loss_before: of the first plan; None where it was not finite.
        loss_after: of the answer, on the same samples; likewise.
        standard_error: of their difference, sample by sample; None where the measure gives no
            losses of samples.
    """

    measurements: int
    kept: int
    loss_before: float | None
    loss_after: float | None
    standard_error: float | None


class Solution(Artifact):
    """A plan within the budget, and what is known about it.

    Attributes:
        plan: width of each layer.
        objective: summed rise of the loss, in the unit of the scores.
        objective_standard_error: of the objective, from the scores' own.
        totals: costs of the plan by metric.
        limits: the budget by metric.
        strategy: the solver's name.
        minimised: "rise", or the cost metric that was minimised within a limit on the rise.
        status: "optimal" is proven; "feasible" comes from a method without proof; "unproven"
            is the best found when the time limit ended the proof.
        gap: how far below the answer the optimum may lie at most, as a share of the answer's
            value; 0 where optimal, None where nothing is proven.
        seconds: time to solve.
        close_calls: choices that noise in the scores could have turned, the closest first.
        refinement: what measuring gained; None where the strategy went by scores alone.
        comparison: this plan beside all uniform plans; empty where not compared.
    """

    plan: BitPlan
    objective: float
    objective_standard_error: float
    totals: dict[str, float]
    limits: dict[str, float]
    strategy: str
    minimised: str = "rise"
    status: Status
    gap: float | None
    seconds: float
    close_calls: tuple[CloseCall, ...] = ()
    refinement: Refinement | None = None
    comparison: tuple[Comparison, ...] = ()


def solution(
    problem: Problem,
    chosen: IntArray,
    *,
    strategy: str,
    status: Status,
    gap: float | None,
    seconds: float,
    minimised: str = "rise",
    refinement: Refinement | None = None,
) -> Solution:
    """The record of one answer: (slots,) choices with their objective and costs."""
    plan = problem.plan(chosen, strategy)
    return Solution(
        plan=plan,
        objective=problem.objective(chosen),
        objective_standard_error=problem.standard_error(chosen),
        totals=problem.costs.totals(plan),
        limits=problem.budget.limits(),
        strategy=strategy,
        minimised=minimised,
        status=status,
        gap=gap,
        seconds=seconds,
        close_calls=close_calls(problem, chosen),
        refinement=refinement,
    )
