"""Plans next to a plan: one other width, or a swap of one width step between two slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.problem import Problem

_ROUNDING = 1e-9
"""Share of a limit by which a sum may err; the exact sum decides."""


def promising_moves(problem: Problem, chosen: IntArray) -> Iterator[IntArray]:
    """The plans within the budget next to a plan, the most promising first.

    Promising is a small rise of the objective, taken one standard error below its estimate: of two
    moves that score alike, the less certain one has more to tell. The two steps of a swap are
    estimated one by one; where one is of a group and the other of a layer that reads it, they
    may come to a little more or less together.

    Args:
        problem: what is solved.
        chosen: (slots,) the plan.

    Yields:
        (slots,) choices.
    """
    steps = _steps(problem, chosen)
    first, second = _moves(steps)
    two = first != second

    def of_moves(per_step: FloatArray) -> FloatArray:
        return np.asarray(per_step[..., first] + two * per_step[..., second])

    fits = np.full(len(first), True)
    for cap, added in zip(problem.caps(), steps.costs, strict=True):
        room = cap.limit - cap.total(chosen) + _ROUNDING * cap.unit
        fits &= of_moves(added) <= room
    prospects = of_moves(steps.rise) - np.sqrt(of_moves(steps.variance))
    order = np.argsort(prospects, kind="stable")
    for move in order[fits[order]]:
        both = [first[move], second[move]]
        moved = chosen.copy()
        moved[steps.slot[both]] = steps.choice[both]
        moved = problem.choices.agreeing(moved)
        if problem.fits(problem.plan(moved, "move")):
            yield moved


@dataclass(frozen=True, eq=False)
class _Steps:
    """A plan's slots at each of their other widths.

    Attributes:
        slot: (steps,).
        choice: (steps,) what the slot would have.
        by: (steps,) how many widths wider, negative if narrower.
        rise: (steps,) what that adds to the objective.
        variance: (steps,) of ``rise``, scores taken as independent.
        costs: (caps, steps) what it adds to the sum of each cap.
    """

    slot: IntArray
    choice: IntArray
    by: IntArray
    rise: FloatArray
    variance: FloatArray
    costs: FloatArray


def _steps(problem: Problem, chosen: IntArray) -> _Steps:
    caps = np.array([cap.values for cap in problem.caps()]).reshape(-1, len(problem.choices))
    per_choice = np.vstack([problem.rises, np.square(problem.standard_errors), caps])
    found = []
    for slot in range(problem.choices.slots):
        now, then = problem.choices.changes(chosen, slot)
        by = np.arange(then.shape[1]) - np.flatnonzero(then[0] == now[0])
        possible = (by != 0) & (then >= 0).all(axis=0)
        now, then, by = now[:, None], then[:, possible], by[possible]
        change = (per_choice[:, then] - per_choice[:, now]).sum(axis=1)
        change[1] = (per_choice[1, then[0]] + per_choice[1, now[0]]).ravel()
        found.append(np.vstack([np.full(len(by), slot), then[0], by, change]))
    slot, choice, by, rise, variance, *costs = np.hstack(found)
    return _Steps(
        slot=slot.astype(np.int64),
        choice=choice.astype(np.int64),
        by=by.astype(np.int64),
        rise=rise,
        variance=variance,
        costs=np.array(costs),
    )


def _moves(steps: _Steps) -> tuple[IntArray, IntArray]:
    """Moves as pairs of steps, (moves,) each; both the same where one slot moves alone."""
    single = np.arange(len(steps.slot))
    grid = np.meshgrid(single[steps.by == 1], single[steps.by == -1], indexing="ij")
    raised, lowered = (side.ravel() for side in grid)
    apart = steps.slot[raised] != steps.slot[lowered]
    return np.concatenate([single, raised[apart]]), np.concatenate([single, lowered[apart]])
