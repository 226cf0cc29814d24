"""The search stage: tables and a budget in, a plan out."""

from __future__ import annotations

from sigmaquant.budget import Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.scores import SensitivityTable
from sigmaquant.search.problem import problem
from sigmaquant.search.solution import Solution
from sigmaquant.search.strategies import strategy_named
from sigmaquant.search.uniform import never_worse_than_uniform


def search(
    scores: SensitivityTable,
    costs: CostTable,
    budget: Budget,
    strategy: str = "exact",
    activation_bits: int = 8,
) -> Solution:
    """Choose a width for each layer: the least summed rise of the loss within the budget.

    The answer has been compared with the uniform plans by summed scores. Where data are at hand,
    compare it again by measured loss: ``never_worse_than_uniform``.

    Args:
        scores: rise of the loss, for every width that the device can run.
        costs: of the same layers.
        budget: hard limits.
        strategy: a key of ``STRATEGIES``.
        activation_bits: the device's own width, given to all activations.

    Raises:
        ConfigError: an unknown strategy.
        ArtifactError: the scores do not cover the network or are not finite.
        DeviceError: the device cannot run the network at that activation width.
        InfeasibleError: no plan meets the budget; names the nearest one that can be met.
    """
    solver = strategy_named(strategy)
    asked = problem(scores, costs, budget, activation_bits)
    return never_worse_than_uniform(asked, solver.solve(asked))
