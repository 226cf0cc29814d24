"""What every solver offers."""

from __future__ import annotations

from typing import Protocol

from sigmaquant.search.measurement import Measure
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Solution


class Strategy(Protocol):
    """A way to choose a width for each layer."""

    def solve(self, problem: Problem, measure: Measure | None = None) -> Solution:
        """Choose one of the problem's widths for each layer.

        The same problem and measure give the same plan, save where a time limit ends the work. The
        plan keeps every budget: ``totals[metric] <= limits[metric]``, to the last bit.

        Args:
            problem: scores, costs and limits.
            measure: of a plan's loss on data held back for it; strategies that go by scores alone
                do not call it.

        Raises:
            ConfigError: the strategy needs a measure.
            InfeasibleError: no plan meets the budgets, or none was found in time; the message says
                which of the two.
        """
        ...
