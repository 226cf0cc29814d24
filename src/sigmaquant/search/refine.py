"""Refinement by measured loss: what the sum of the scores cannot see.

Summed scores take the layers' losses to add up. Where they do not, because two layers' errors
amplify or cancel each other, only a measurement of the whole plan tells. So the moves that the
scores hold for the most promising are carried out and measured, one by one, and kept if they help.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sigmaquant.errors import ConfigError
from sigmaquant.progress import progress_bar
from sigmaquant.search.exact import Exact, gap_to
from sigmaquant.search.measurement import Measure
from sigmaquant.search.moves import promising_moves
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Solution, solution
from sigmaquant.search.trials import Trials

MEASUREMENTS = 64
"""Plans measured at most: a minute or two for a network whose rounding takes a second."""
PATIENCE = 24
"""Measurements in a row that did not help, after which no more are made."""


@dataclass(frozen=True)
class Refine:
    """Local search by measured loss, around the plan of ``Exact`` or another.

    A move gives one layer or precision group another width, or swaps one width step between two of
    them. The first that helps is taken, and the next are tried around the new plan.

    Attributes:
        measurements: plans measured at most, the first one included.
        patience: so many measurements in a row without a gain end the search.
    """

    measurements: int = MEASUREMENTS
    patience: int = PATIENCE

    def solve(self, problem: Problem, measure: Measure | None = None) -> Solution:
        """Improve the plan of least summed rise; the answer never measures worse than it.

        Raises:
            ConfigError: there is no measure.
            InfeasibleError: no plan meets the budgets.
        """
        if measure is None:
            raise ConfigError(
                "the strategy 'refine' measures plans, and there is nothing to measure them with: "
                "give calibration data or a measure, or choose 'exact', which needs scores alone"
            )
        return self.improved(problem, Exact().solve(problem), measure, strategy="refine")

    def improved(
        self, problem: Problem, start: Solution, measure: Measure, *, strategy: str
    ) -> Solution:
        """Improve an answer that is known; the new one never measures worse.

        Args:
            problem: what both answer.
            start: whose plan is within the budgets.
            measure: of a plan's loss.
            strategy: what the new answer is called.
        """
        started = time.perf_counter()
        with progress_bar("refining", self.measurements) as advance:
            trials = Trials(problem, measure, problem.chosen(start.plan), advance)
            self._improve(problem, trials)
        return solution(
            problem,
            trials.best,
            strategy=strategy,
            status="feasible",
            gap=_gap(problem.objective(trials.best), start),
            seconds=start.seconds + time.perf_counter() - started,
            refinement=trials.record(),
        )

    def _improve(self, problem: Problem, trials: Trials) -> None:
        """Try moves until none is left, none helps any more, or enough have been measured."""
        moves, failures = promising_moves(problem, trials.best), 0
        while trials.count < self.measurements and failures < self.patience:
            move = next((move for move in moves if not trials.knows(move)), None)
            if move is None:
                return
            if trials.helps(move):
                moves, failures = promising_moves(problem, trials.best), 0
            else:
                failures += 1


def _gap(objective: float, start: Solution) -> float | None:
    """How far the summed scores may lie above their optimum; the measured loss has overruled it."""
    if start.gap is None:
        return None
    return gap_to(objective, start.objective - start.gap * abs(start.objective))
