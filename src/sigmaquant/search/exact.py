"""The optimum by mixed-integer programming, with its proof; and the dual question.

The answer starts from the greedy plan, so it is never worse, however early the time limit ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from sigmaquant.errors import ConfigError, InfeasibleError
from sigmaquant.search.core import minimise_from
from sigmaquant.search.greedy import climb, climbed
from sigmaquant.search.integer_program import Answer, Outcome
from sigmaquant.search.least import least_of
from sigmaquant.search.measurement import Measure
from sigmaquant.search.problem import RISE, Problem
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

    def solve(self, problem: Problem, measure: Measure | None = None) -> Solution:
        """Minimise the summed rise within all budgets; nothing is measured.

        Raises:
            InfeasibleError: no plan meets the budgets.
        """
        started = time.perf_counter()
        answer = minimise_from(
            problem.choices,
            problem.rises,
            problem.caps(),
            start=climbed(problem),
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

    Of the plans that cost the same, one that no single width can be added to for nothing.

    Args:
        problem: its budget holds as well.
        metric: a cost, "flash_bytes", "peak_ram_bytes", "latency_ms" or "energy_uj".
        max_rise: of the loss, in the unit of the scores.
        time_limit_seconds: when it ends, the best plan found is returned as "unproven".

    Raises:
        ConfigError: a metric that the choice of widths does not change.
        InfeasibleError: no plan has so small a rise within the budget; names the least one.
    """
    _check_metric(problem, metric)
    started = time.perf_counter()
    caps = (*problem.caps(), *problem.caps_on(RISE, max_rise))
    answer = least_of(
        problem, metric, caps, known=[climbed(problem)], time_limit_seconds=time_limit_seconds
    )
    if answer.chosen is None:
        raise InfeasibleError(_why_not(problem, max_rise, answer, time_limit_seconds))
    cost = problem.value(metric, answer.chosen)
    polished = climb(problem.within({metric: cost}), answer.chosen)
    answer = replace(answer, chosen=polished)
    return _proven(problem, answer, metric, time.perf_counter() - started)


def _proven(problem: Problem, answer: Answer, minimised: str, seconds: float) -> Solution:
    """The record of an answer, with what is proven of it."""
    assert answer.chosen is not None
    optimal = answer.outcome is Outcome.OPTIMAL
    value = problem.value(minimised, answer.chosen) - problem.choices.fixed.get(minimised, 0.0)
    return solution(
        problem,
        answer.chosen,
        strategy="exact",
        minimised=minimised,
        status="optimal" if optimal else "unproven",
        gap=0.0 if optimal else gap_to(value, answer.bound),
        seconds=seconds,
    )


def gap_to(value: float, bound: float) -> float | None:
    """How far the optimum may lie below the value, as a share of it; None where that is unknown."""
    if value == 0 or not np.isfinite(bound):
        return None
    return max(0.0, (value - bound) / abs(value))


def _check_metric(problem: Problem, metric: str) -> None:
    if metric not in problem.costs_chosen:
        raise ConfigError(
            f"{metric!r} cannot be minimised by the widths that are chosen; these can: "
            f"{', '.join(problem.costs_chosen)}"
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
