"""Plans tried out one after the other: the best so far, and what trying has cost."""

from __future__ import annotations

from collections.abc import Callable

from sigmaquant.bitplan import BitPlan
from sigmaquant.search.arrays import IntArray
from sigmaquant.search.measurement import Measure, MeasuredOnce, difference, finite_mean
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Refinement


class Trials:
    """The best plan by measured loss; measures the first one at once.

    Args:
        problem: what is solved.
        measure: of a plan's loss.
        start: (slots,) the plan to improve on.
        advance: called after each measurement.

    Attributes:
        best: (slots,) the plan that none tried so far has improved on.
    """

    def __init__(
        self,
        problem: Problem,
        measure: Measure,
        start: IntArray,
        advance: Callable[[], None],
    ) -> None:
        self.best = start
        self._problem = problem
        self._measured = MeasuredOnce(measure)
        self._advance = advance
        self._kept = 0
        self._first = self._losses = self._measured(self._plan(start))
        advance()

    @property
    def count(self) -> int:
        """How many plans have been measured."""
        return self._measured.count

    def knows(self, chosen: IntArray) -> bool:
        """Whether a plan has been measured."""
        return self._plan(chosen) in self._measured

    def helps(self, chosen: IntArray) -> bool:
        """Measure a plan, and keep it as the best if its loss is smaller by more than noise."""
        losses = self._measured(self._plan(chosen))
        self._advance()
        improves = difference(losses, self._losses).improves
        if improves:
            self.best, self._losses = chosen, losses
            self._kept += 1
        return improves

    def record(self) -> Refinement:
        """What trying has changed."""
        return Refinement(
            measurements=self.count,
            kept=self._kept,
            loss_before=finite_mean(self._first),
            loss_after=finite_mean(self._losses),
            standard_error=difference(self._losses, self._first).standard_error,
        )

    def _plan(self, chosen: IntArray) -> BitPlan:
        return self._problem.plan(chosen, "trial")
