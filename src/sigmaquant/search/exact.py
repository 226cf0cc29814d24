"""The optimum by mixed-integer programming, with its proof; and the dual question.

The answer starts from the greedy plan, so it is never worse, however early the time limit ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from sigmaquant.errors import ConfigError, InfeasibleError
from sigmaquant.search.choices import ADDITIVE
from sigmaquant.search.core import minimise_from
from sigmaquant.search.feasibility import starting_plan
from sigmaquant.search.greedy import climb
from sigmaquant.search.integer_program import Answer, Cap, Outcome, minimise
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Solution, solution

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
        answer = minimise_from(
            problem.choices,
            problem.rises,
            problem.caps(),
            start=climb(problem, starting_plan(problem)),
            time_limit_seconds=self.time_limit_seconds,
        )
        return _proven(problem, answer, "rise", time.perf_counter() - started)


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
    values = problem.choices.costs[metric]
    rise_cap = Cap(problem.rises, max_rise)
    caps = (*problem.caps(), rise_cap)
    if rise_cap.holds(greedy):
        answer = minimise_from(
            problem.choices, values, caps, start=greedy, time_limit_seconds=time_limit_seconds
        )
    else:
        answer = minimise(problem.choices, values, caps, time_limit_seconds=time_limit_seconds)
    if answer.chosen is None:
        raise InfeasibleError(_why_not(problem, max_rise, answer, time_limit_seconds))
    return _proven(problem, answer, metric, time.perf_counter() - started)


def _proven(problem: Problem, answer: Answer, minimised: str, seconds: float) -> Solution:
    """The record of an answer, with what is proven of it."""
    assert answer.chosen is not None
    values = problem.rises if minimised == "rise" else problem.choices.costs[minimised]
    optimal = answer.outcome is Outcome.OPTIMAL
    return solution(
        problem,
        answer.chosen,
        strategy="exact",
        minimised=minimised,
        status="optimal" if optimal else "unproven",
        gap=0.0 if optimal else _gap(float(values[answer.chosen].sum()), answer.bound),
        seconds=seconds,
    )


def _gap(value: float, bound: float) -> float | None:
    """How far the optimum may lie below the value, as a share of it."""
    if value == 0 or not np.isfinite(bound):
        return None
    return max(0.0, (value - bound) / abs(value))


def _check_metric(metric: str) -> None:
    if metric not in ADDITIVE:
        raise ConfigError(
            f"{metric!r} cannot be minimised by weight widths; these can: {', '.join(ADDITIVE)}"
        )


def _why_not(problem: Problem, max_rise: float, answer: Answer, seconds: float) -> str:
    if answer.outcome is Outcome.STOPPED:
        return (
            f"no plan that raises the loss by at most {max_rise:.4g} was found in {seconds:g} s, "
            "and none was ruled out; allow a little more, or more time"
        )
    best = Exact(seconds).solve(problem)
    return (
        f"no plan within the budget keeps the rise of the loss to {max_rise:.4g}: the least "
        f"reachable is {best.objective:.4g}; allow that much or raise the budget"
    )
