"""The plan of least rise or least cost within limits, whichever kind of metric it is."""

from __future__ import annotations

from collections.abc import Sequence

from sigmaquant.search.arrays import IntArray
from sigmaquant.search.choices import PEAK_RAM
from sigmaquant.search.core import minimise_from
from sigmaquant.search.integer_program import Answer, Cap, minimise_peak
from sigmaquant.search.problem import RISE, Problem


def least_of(
    problem: Problem,
    metric: str,
    caps: Sequence[Cap],
    *,
    known: Sequence[IntArray],
    time_limit_seconds: float,
) -> Answer:
    """Minimise the rise or a cost, from the best known plan that keeps the caps.

    Args:
        problem: what can be chosen; its own budget counts only as far as it is in the caps.
        metric: "rise" or a cost.
        caps: limits.
        known: (slots,) plans to start from; they may break the caps.
        time_limit_seconds: when it ends, the best plan found is the answer.
    """
    choices = problem.choices
    fitting = [plan for plan in known if all(cap.holds(plan) for cap in caps)]
    start = min(fitting, key=lambda plan: problem.value(metric, plan), default=None)
    if metric == PEAK_RAM:
        return minimise_peak(choices, caps, time_limit_seconds=time_limit_seconds, start=start)
    values = problem.rises if metric == RISE else choices.costs[metric]
    return minimise_from(choices, values, caps, start=start, time_limit_seconds=time_limit_seconds)
