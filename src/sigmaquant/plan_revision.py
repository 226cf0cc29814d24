"""A plan revised after fine-tuning: what training wins back, and what not, shows only then.

The plan's neighbours are measured on the trained network, as ``Refine`` measures them on untrained
ones. What is found is to be trained again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sigmaquant.budget import format_cost
from sigmaquant.calibration import Batch
from sigmaquant.divergence import UserLoss
from sigmaquant.errors import ArtifactError, ConfigError
from sigmaquant.plan_loss import network_measure
from sigmaquant.quantized import PlanQuantizer, QuantizedNetwork
from sigmaquant.search import Problem, Refine, Refinement, Solution
from sigmaquant.search.reachability import BUDGET_NAMES, rounded_up
from sigmaquant.search.solution import solution

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Revised:
    """A plan after revision.

    Attributes:
        solution: the plan, within the same budgets, the old one where no move gained; its
            refinement tells what was measured.
        network: under that plan, to be trained on. What keeps its width is as training left it.
    """

    solution: Solution
    network: QuantizedNetwork


def revise_plan(
    problem: Problem,
    start: Solution,
    tuned: QuantizedNetwork,
    calibration: Sequence[Batch],
    held_back: Sequence[Batch],
    *,
    rounding: str = "compensated",
    loss: UserLoss | None = None,
) -> Revised:
    """Measure moves around a trained network's plan, and keep those that gain more than noise.

    Args:
        problem: what the plan answers.
        start: the answer that the network was trained under.
        tuned: the network after training.
        calibration: what changed layers are rounded with.
        held_back: what is measured on.
        rounding: see ``quantize``.
        loss: the user's own.

    Raises:
        ConfigError, DataError: see ``quantize``.
    """
    quantizer = PlanQuantizer(tuned.network, calibration, rounding)
    losses = network_measure(tuned.network, held_back, loss)
    found = Refine().improved(
        problem, start, lambda plan: losses(quantizer.revised(tuned, plan)), strategy="revise"
    )
    assert found.refinement is not None
    _log.info("revise: %s", _outcome(found.refinement))
    if not found.refinement.kept:
        found = start.model_copy(update={"refinement": found.refinement})
    return Revised(found, quantizer.revised(tuned, found.plan))


def start_of(problem: Problem, tuned: QuantizedNetwork) -> Solution:
    """A network's plan as an answer to a problem, where no search has given it.

    Raises:
        ArtifactError: the device does not offer the plan's widths.
        ConfigError: the plan breaks the budget.
    """
    plan = tuned.plan
    try:
        chosen = problem.chosen(plan)
    except KeyError as error:
        raise ArtifactError(_not_offered(problem, plan.origin)) from error
    if any(problem.plan(chosen, plan.origin).differing(plan)):
        raise ArtifactError(_not_offered(problem, plan.origin))
    totals, limits = problem.costs.totals(plan), problem.budget.limits()
    for metric, limit in limits.items():
        if totals[metric] > limit:
            raise ConfigError(
                f"the network's plan needs {BUDGET_NAMES[metric]} of "
                f"{rounded_up(metric, totals[metric])}, and the budget is "
                f"{format_cost(metric, limit)}: a revision keeps budgets and does not come to "
                "keep them; search a plan within this one and fine-tune under it"
            )
    return solution(problem, chosen, strategy=plan.origin, status="feasible", gap=None, seconds=0.0)


def _not_offered(problem: Problem, origin: str) -> str:
    return (
        f"the network was quantized under widths ({origin}) that {problem.costs.device} does not "
        "offer; give the device and runtime that they were searched for"
    )


def _outcome(record: Refinement) -> str:
    tried = f"{record.measurements} plans measured, {record.kept} moves kept"
    if record.loss_before is None or record.loss_after is None:
        return tried
    return f"{tried}, held-back loss {record.loss_before:.5g} -> {record.loss_after:.5g}"
