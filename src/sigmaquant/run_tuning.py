"""Training within a run, and the one revision of the plan that may follow it."""

from __future__ import annotations

import math
from dataclasses import replace

from sigmaquant import report
from sigmaquant.costs import CostTable
from sigmaquant.data import DataSource
from sigmaquant.divergence import loss_name
from sigmaquant.plan_loss import network_measure
from sigmaquant.plan_revision import Revised, revise_plan
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.ranks import on_each
from sigmaquant.run_directory import artifact_form, record_form
from sigmaquant.run_stages import RunStages, Tuned
from sigmaquant.search import Refinement, Solution
from sigmaquant.search.measurement import finite_mean
from sigmaquant.search.problem import problem
from sigmaquant.sensitivity import SensitivityTable


def tune(
    stages: RunStages,
    solution: Solution,
    scores: SensitivityTable,
    costs: CostTable,
    quantized: QuantizedNetwork,
    training: DataSource,
) -> Tuned:
    """Train the network; where that is asked for, revise its plan and train it again.

    The network under the revised plan is taken only if it loses less on the held-back data.
    """
    first = Tuned(solution, stages.finetune(quantized, training), "finetune")
    if not stages.config.finetune.revise:
        return first
    revised = _revised(stages, solution, scores, costs, first.network)
    moves = revised.solution.refinement
    assert moves is not None
    if not moves.kept:
        return replace(first, revision=_revision(moves))
    again = stages.finetune_again(revised.network, training)
    revision = _compared(stages, moves, again)
    if not revision.taken:
        return replace(first, revision=revision)
    # What was measured before training is told of the plan that it was measured for.
    told = {"comparison": solution.comparison, "refinement": solution.refinement}
    final = revised.solution.model_copy(update=told)
    stages.save_plan(final.plan)
    return Tuned(final, again, "finetune_again", revision)


def _revised(
    stages: RunStages,
    solution: Solution,
    scores: SensitivityTable,
    costs: CostTable,
    finetuned: QuantizedNetwork,
) -> Revised:
    """The stage that measures the plans next to the network's own."""
    settings, folder = stages.config.search, stages.folder
    path = folder.path("revised.safetensors")

    def make() -> Solution:
        revised = revise_plan(
            problem(scores, costs, stages.budget, settings.activation_bits),
            solution,
            finetuned,
            stages.calibration,
            stages.held_back,
            rounding=stages.rounding,
            loss=stages.loss,
        )
        revised.network.save(path)
        return revised.solution

    found = folder.stage(
        "revise",
        "revision.json",
        inputs=[
            *stages.data_digests,
            folder.content("search"),
            folder.content("finetune"),
            scores.digest(),
            costs.digest(),
            stages.budget.limits(),
            stages.rounding,
            settings.activation_bits,
            loss_name(stages.loss),
        ],
        make=make,
        form=artifact_form(Solution),
        also=[path.name],
    )
    return Revised(found, on_each(folder.ranks, lambda: stages.load_quantized(path)))


def _compared(stages: RunStages, moves: Refinement, again: QuantizedNetwork) -> report.Revision:
    """The stage that tells which of the two trained networks loses less."""

    def make() -> report.Revision:
        losses = network_measure(stages.network, stages.held_back, stages.loss)
        loss = finite_mean(losses(again))
        before = math.inf if moves.loss_before is None else moves.loss_before
        return _revision(moves, loss_again=loss, taken=loss is not None and loss < before)

    return stages.folder.stage(
        "compare",
        "comparison.json",
        inputs=[
            *stages.data_digests,
            stages.folder.content("revise"),
            stages.folder.content("finetune_again"),
            loss_name(stages.loss),
        ],
        make=make,
        form=record_form(report.Revision),
    )


def _revision(
    moves: Refinement, loss_again: float | None = None, taken: bool = False
) -> report.Revision:
    record = report.Refinement(**moves.model_dump())
    return report.Revision(moves=record, loss_again=loss_again, taken=taken)
