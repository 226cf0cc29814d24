"""The search stage: tables and a budget in, a plan out."""

from __future__ import annotations

from sigmaquant.budget import Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.scores import SensitivityTable
from sigmaquant.search.measurement import Measure, MeasuredOnce
from sigmaquant.search.problem import problem
from sigmaquant.search.solution import Solution
from sigmaquant.search.strategies import strategy_named
from sigmaquant.search.uniform import never_worse_than_uniform


def search(
    scores: SensitivityTable,
    costs: CostTable,
    budget: Budget,
    strategy: str = "exact",
    activation_bits: int | None = None,
    measure: Measure | None = None,
) -> Solution:
    """Choose the widths of weights and activations that lose least within the budget.

    The answer has been compared with the uniform plans: by measured loss where there is a measure,
    else by summed scores.

    Args:
        scores: rise of the loss, for every width that the device can run.
        costs: of the same layers.
        budget: hard limits.
        strategy: a key of ``STRATEGIES``.
        activation_bits: given to all activations; by default chosen where the scores and the device
            allow it, else the device's native width.
        measure: loss of a plan on held-back calibration data; called once for each plan.

    Raises:
        ConfigError: an unknown strategy, or one that needs a measure.
        ArtifactError: the scores do not cover the network or are not finite.
        DeviceError: the device cannot run the network at that activation width.
        InfeasibleError: no plan meets the budget; names the nearest one that can be met.
    """
    solver = strategy_named(strategy)
    asked = problem(scores, costs, budget, activation_bits)
    measured = None if measure is None else MeasuredOnce(measure)
    return never_worse_than_uniform(asked, solver.solve(asked, measured), measured)
