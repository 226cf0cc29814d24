"""Choices that the noise of the scores could have turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sigmaquant.artifact import Frozen
from sigmaquant.search.choices import FloatArray, IntArray
from sigmaquant.search.problem import Problem

_REPORTED = 5
"""How many are worth a reader's time."""


class CloseCall(Frozen):
    """A swap of one width step between two layers that the scores cannot tell from the plan.

    Attributes:
        raised: the layer that would get its next wider width.
        raised_bits: that width.
        lowered: the layer that would get its next narrower width.
        lowered_bits: that width.
        rise: what the swap adds to the objective.
        standard_error: of ``rise``; larger than its magnitude.
    """

    raised: str
    raised_bits: int
    lowered: str
    lowered_bits: int
    rise: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class _Steps:
    """Moves of single layers by one width, each array (moves,)."""

    layer: IntArray
    choice: IntArray
    rise: FloatArray
    variance: FloatArray
    costs: tuple[FloatArray, ...]


def close_calls(problem: Problem, chosen: IntArray) -> tuple[CloseCall, ...]:
    """The closest swaps that keep the budget and change the objective by less than its error.

    The four scores of a swap are taken as independent, which overstates the error where they
    were measured on the same samples.

    Args:
        problem: what was solved.
        chosen: (layers,) the plan.

    Returns:
        At most five, the smallest change in units of its standard error first.
    """
    starts = problem.choices.starts
    up = _steps(problem, chosen, np.flatnonzero(chosen + 1 < starts[1:]), 1)
    down = _steps(problem, chosen, np.flatnonzero(chosen > starts[:-1]), -1)
    rise = up.rise[:, None] + down.rise
    error = np.sqrt(up.variance[:, None] + down.variance)
    close = (np.abs(rise) < error) & (up.layer[:, None] != down.layer)
    for cap, added, saved in zip(problem.caps(), up.costs, down.costs, strict=True):
        close &= cap.fixed + cap.values[chosen].sum() + added[:, None] + saved <= cap.limit
    pairs = np.argwhere(close)
    order = np.argsort(np.abs(rise[close]) / error[close], kind="stable")
    names, bits = problem.choices.layers, problem.choices.weight_bits
    return tuple(
        CloseCall(
            raised=names[up.layer[i]],
            raised_bits=int(bits[up.choice[i]]),
            lowered=names[down.layer[j]],
            lowered_bits=int(bits[down.choice[j]]),
            rise=float(rise[i, j]),
            standard_error=float(error[i, j]),
        )
        for i, j in pairs[order[:_REPORTED]]
    )


def _steps(problem: Problem, chosen: IntArray, layers: IntArray, by: int) -> _Steps:
    before, after = chosen[layers], chosen[layers] + by
    rises, variances = problem.rises, np.square(problem.standard_errors)
    return _Steps(
        layer=layers,
        choice=after,
        rise=rises[after] - rises[before],
        variance=variances[after] + variances[before],
        costs=tuple(cap.values[after] - cap.values[before] for cap in problem.caps()),
    )
