"""The optimum by mixed-integer programming, with its proof; and the dual question.

The answer starts from the greedy plan, so it is never worse, however early the time limit ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from sigmaquant.errors import ConfigError, InfeasibleError
from sigmaquant.search.choices import ADDITIVE, FloatArray, IntArray
from sigmaquant.search.feasibility import starting_plan
from sigmaquant.search.greedy import climb
from sigmaquant.search.integer_program import Answer, Cap, Outcome, minimise
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Solution, Status, solution

TIME_LIMIT_SECONDS = 60.0
"""Far above the second or two that 200 layers with four budgets take."""


@dataclass(frozen=True)
class Exact:
    """The least summed rise, proven.

    Attributes:
        time_limit_seconds: when it ends, the best plan found is returned as "unproven".
    """

    time_limit_seconds: float = TIME_LIMIT_SECONDS

    def solve(self, problem: Problem) -> Solution:
        """Minimise the summed rise within all budgets.

        Raises:
            InfeasibleError: no plan meets the budgets.
        """
        started = time.perf_counter()
        greedy = climb(problem, starting_plan(problem))
        answer = minimise(
            problem.choices,
            problem.rises,
            problem.caps(),
            time_limit_seconds=self.time_limit_seconds,
            start=greedy,
        )
        chosen = _best(problem.rises, answer.chosen, greedy)
        status, gap = _proof(answer, problem.rises, chosen)
        return solution(
            problem,
            chosen,
            strategy="exact",
            status=status,
            gap=gap,
            seconds=time.perf_counter() - started,
        )


def least(
    problem: Problem,
    metric: str,
    max_rise: float,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
) -> Solution:
    """The dual question: the cheapest plan whose summed rise stays within a limit.

    Args:
        problem: its budget holds as well.
        metric: "flash_bytes", "latency_ms" or "energy_uj".
        max_rise: of the loss, in the unit of the scores.
        time_limit_seconds: when it ends, the best plan found is returned as "unproven".

    Raises:
        ConfigError: a metric that weight widths do not change.
        InfeasibleError: no plan has so small a rise within the budget; names the least one.
    """
    _check_metric(metric)
    started = time.perf_counter()
    greedy = climb(problem, starting_plan(problem))
    rise_cap = Cap(problem.rises, max_rise)
    known = greedy if rise_cap.holds(greedy) else None
    values = problem.choices.costs[metric]
    answer = minimise(
        problem.choices,
        values,
        (*problem.caps(), rise_cap),
        time_limit_seconds=time_limit_seconds,
        start=known,
    )
    if answer.chosen is None and known is None:
        raise InfeasibleError(_why_not(problem, max_rise, answer, time_limit_seconds))
    chosen = _best(values, answer.chosen, known)
    status, gap = _proof(answer, values, chosen)
    return solution(
        problem,
        chosen,
        strategy="exact",
        minimised=metric,
        status=status,
        gap=gap,
        seconds=time.perf_counter() - started,
    )


def _check_metric(metric: str) -> None:
    if metric not in ADDITIVE:
        raise ConfigError(
            f"{metric!r} cannot be minimised by weight widths; these can: {', '.join(ADDITIVE)}"
        )


def _why_not(problem: Problem, max_rise: float, answer: Answer, seconds: float) -> str:
    if answer.outcome is Outcome.STOPPED:
        return f"no plan with a rise of at most {max_rise:.4g} was found in {seconds:.0f} s"
    best = Exact(seconds).solve(problem)
    return (
        f"no plan within the budget keeps the rise of the loss to {max_rise:.4g}: the least "
        f"reachable is {best.objective:.4g}; allow that much or raise the budget"
    )


def _best(values: FloatArray, *plans: IntArray | None) -> IntArray:
    found = [plan for plan in plans if plan is not None]
    return min(found, key=lambda plan: float(values[plan].sum()))


def _proof(answer: Answer, values: FloatArray, chosen: IntArray) -> tuple[Status, float | None]:
    if answer.outcome is Outcome.OPTIMAL:
        return "optimal", 0.0
    value = float(values[chosen].sum())
    if value == 0 or not np.isfinite(answer.bound):
        return "unproven", None
    return "unproven", max(0.0, (value - answer.bound) / abs(value))
