"""Choices that the noise of the scores could have turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigmaquant.artifact import Frozen
from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.problem import Problem

_REPORTED = 5
"""How many are worth a reader's time."""


class CloseCall(Frozen):
    """A swap of one width step between two slots that the scores cannot tell from the plan.

    Attributes:
        raised: the layer or precision group that would get its next wider width.
        raised_bits: that width.
        lowered: the layer or precision group that would get its next narrower width.
        lowered_bits: that width.
        rise: what the swap adds to the objective.
        standard_error: of ``rise``; larger than its magnitude.
        groups: those of the two that are precision groups.
    """

    raised: str
    raised_bits: int
    lowered: str
    lowered_bits: int
    rise: float
    standard_error: float
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Steps:
    """Moves of single slots by one width, each array (moves,).

    ``changed`` is (moves, slots): 1 where the slot gets another choice.
    """

    choice: IntArray
    changed: FloatArray
    rise: FloatArray
    variance: FloatArray
    costs: tuple[FloatArray, ...]


def close_calls(problem: Problem, chosen: IntArray) -> tuple[CloseCall, ...]:
    """The closest swaps that keep the budget and change the objective by less than its error.

    The four scores of a swap are taken as independent, which overstates the error where they
    were measured on the same samples.

    Args:
        problem: what was solved.
        chosen: (slots,) the plan.

    Returns:
        At most five, the smallest change in units of its standard error first.
    """
    up, down = _steps(problem, chosen, 1), _steps(problem, chosen, -1)
    rise = up.rise[:, None] + down.rise
    error = np.sqrt(up.variance[:, None] + down.variance)
    close = (np.abs(rise) < error) & (up.changed @ down.changed.T == 0)
    for cap, added, saved in zip(problem.caps(), up.costs, down.costs, strict=True):
        close &= cap.fixed + cap.values[chosen].sum() + added[:, None] + saved <= cap.limit
    pairs = np.argwhere(close)
    order = np.argsort(np.abs(rise[close]) / error[close], kind="stable")
    return tuple(
        _call(problem, (up.choice[i], down.choice[j]), float(rise[i, j]), float(error[i, j]))
        for i, j in pairs[order[:_REPORTED]]
    )


def _call(problem: Problem, pair: Sequence[int], rise: float, error: float) -> CloseCall:
    choices = problem.choices
    names = (*choices.layers, *choices.groups)
    slots = [int(choices.slot[choice]) for choice in pair]
    # A group's choices have no weight width.
    bits = [int(choices.weight_bits[at] or choices.activation_bits[at]) for at in pair]
    return CloseCall(
        raised=names[slots[0]],
        raised_bits=bits[0],
        lowered=names[slots[1]],
        lowered_bits=bits[1],
        rise=rise,
        standard_error=error,
        groups=tuple(names[slot] for slot in slots if slot >= len(choices.layers)),
    )


def _steps(problem: Problem, chosen: IntArray, by: int) -> _Steps:
    """Each slot at its neighbouring width, with the layers that go along; by 1 or -1."""
    choices, variances = problem.choices, np.square(problem.standard_errors)
    moves = []
    for slot in range(choices.slots):
        before, options = choices.changes(chosen, slot)
        at = int(np.flatnonzero(options[0] == chosen[slot])[0]) + by
        if 0 <= at < options.shape[1]:
            moves.append((before, options[:, at]))
    now = np.concatenate([before for before, _ in moves] or [chosen[:0]])
    then = np.concatenate([after for _, after in moves] or [chosen[:0]])
    counts = np.array([len(before) for before, _ in moves], dtype=np.int64)
    move = np.repeat(np.arange(len(moves)), counts)

    def total(changes: FloatArray) -> FloatArray:
        return np.bincount(move, changes, minlength=len(moves)).astype(float)

    changed = np.zeros((len(moves), choices.slots))
    changed[move, choices.slot[now]] = 1.0
    # A layer that only follows its input keeps its score.
    scored_anew = (choices.weight_bits[now] == 0) | (
        choices.weight_bits[now] != choices.weight_bits[then]
    )
    return _Steps(
        choice=then[np.cumsum(counts) - counts],
        changed=changed,
        rise=total(problem.rises[then] - problem.rises[now]),
        variance=total((variances[then] + variances[now]) * scored_anew),
        costs=tuple(total(cap.values[then] - cap.values[now]) for cap in problem.caps()),
    )
