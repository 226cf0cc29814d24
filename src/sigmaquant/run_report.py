"""From the stages' results to the report."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from sigmaquant import report
from sigmaquant._version import __version__
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration.check import with_scores
from sigmaquant.calibration_check import CalibrationCheck
from sigmaquant.costs import CostTable
from sigmaquant.devices import DeviceProfile
from sigmaquant.evaluation import Evaluation
from sigmaquant.export.formats import format_named
from sigmaquant.layers import LayerSpec, LayerTable
from sigmaquant.report.model import Metric
from sigmaquant.search import Solution, reachable
from sigmaquant.sensitivity import SensitivityTable

if TYPE_CHECKING:
    from sigmaquant.export.verification import Verification

_PACKAGES = ("torch", "numpy", "highspy", "onnx", "onnxruntime", "ai-edge-litert")
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Findings:
    """The results of a run's stages.

    Attributes:
        table: the network's layers.
        float_layers: those that the user left in float.
        profile: of the device.
        costs: of every choice there.
        asked: the budgets as the user set them.
        scores: of every choice.
        solution: the plan and its rivals.
        evaluation: quality of every state of the network.
        held_back_only: whether the quality comes from held-back calibration data.
        verification: of the exported file.
        file: its name.
        file_format: such as "onnx".
        seconds: by stage.
        held_back_samples: that plans were compared on.
        plan_loss: the loss that they were compared by.
        check: of the calibration data, before scoring.
        revision: of the plan after fine-tuning, if one was asked for.
    """

    table: LayerTable
    float_layers: tuple[str, ...]
    profile: DeviceProfile
    costs: CostTable
    asked: Budget
    scores: SensitivityTable
    solution: Solution
    evaluation: Evaluation
    held_back_only: bool
    verification: Verification
    file: str
    file_format: str
    seconds: dict[str, float]
    held_back_samples: int
    plan_loss: str
    check: CalibrationCheck
    revision: report.Revision | None = None


def build_report(found: Findings, *, seed: int, command: str | None) -> report.RunReport:
    """The report of one run.

    Args:
        found: what its stages gave.
        seed: of every random draw.
        command: the shell command that repeats the run, if there is one.
    """
    table, solution, scores = found.table, found.solution, found.scores
    mean_bits = solution.plan.mean_weight_bits(table)
    check = with_scores(found.check, table, scores, mean_bits, seed)
    return report.RunReport(
        network=table.network,
        target=report.Target(name=found.profile.name, title=found.profile.title),
        provenance=report.Provenance(
            created=datetime.now(UTC),
            sigmaquant=__version__,
            versions=_versions(),
            seed=seed,
            commands=() if command is None else (command,),
        ),
        solution=_solution(solution),
        scoring=report.Scoring(
            metric=scores.metric,
            loss=scores.loss,
            rounding=scores.rounding,
            samples=scores.samples,
        ),
        budgets=tuple(_budget_uses(found)),
        layers=tuple(_layer_result(layer, found) for layer in table.layers),
        activation_bits=_differing(solution.plan.activation_bits),
        quality=found.evaluation.quality,
        quality_loss=found.evaluation.loss,
        compared_plans=tuple(_compared_plans(found)),
        plan_loss=found.plan_loss,
        close_calls=tuple(_close_calls(solution)),
        revision=found.revision,
        exports=(_exported_file(found),),
        stage_times=tuple(
            report.StageTime(stage=stage, seconds=seconds)
            for stage, seconds in found.seconds.items()
        ),
        float_operators=table.float_operators,
        calibration=check,
        warnings=(*_warnings(found), *(finding.text for finding in check.warnings)),
    )


def _solution(solution: Solution) -> report.Solution:
    refinement = solution.refinement
    return report.Solution(
        strategy=solution.plan.origin,
        status=solution.status,
        gap=solution.gap,
        rise=solution.objective,
        rise_standard_error=solution.objective_standard_error,
        refinement=None if refinement is None else report.Refinement(**refinement.model_dump()),
    )


def _close_calls(solution: Solution) -> Iterator[report.CloseCall]:
    for call in solution.close_calls:
        yield report.CloseCall(
            raised=_described(call.raised, call.groups),
            raised_bits=call.raised_bits,
            lowered=_described(call.lowered, call.groups),
            lowered_bits=call.lowered_bits,
            rise_difference=call.rise,
            standard_error=call.standard_error,
        )


def _described(name: str, groups: tuple[str, ...]) -> str:
    """A layer, or a precision group, as sentences have it."""
    return f"the activations {name}" if name in groups else name


def _differing(activation_bits: dict[str, int]) -> dict[str, int]:
    """The widths of the groups; none where all are the same."""
    return activation_bits if len(set(activation_bits.values())) > 1 else {}


def _versions() -> dict[str, str]:
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}


def _budget_uses(found: Findings) -> Iterator[report.BudgetUse]:
    uniform8 = _totals(BitPlan.uniform(found.table, 8), found.costs)
    for metric in get_args(Metric):
        if metric not in found.costs.marks:
            continue
        yield report.BudgetUse(
            metric=metric,
            limit=found.solution.limits.get(metric),
            used=found.solution.totals[metric],
            mark=found.costs.marks[metric],
            float_value=float_bytes(found.table) if metric == "flash_bytes" else None,
            uniform8_value=uniform8.get(metric),
        )


def _totals(plan: BitPlan, costs: CostTable) -> dict[str, float]:
    """The plan's costs; nothing where the device cannot run it."""
    try:
        return costs.totals(plan)
    except KeyError:
        return {}


def float_bytes(table: LayerTable) -> int:
    """Bytes of all parameters as float32."""
    layers = sum(layer.weights + layer.channels for layer in table.layers)
    return _FLOAT_BYTES * (layers + table.float_parameters)


def _layer_result(layer: LayerSpec, found: Findings) -> report.LayerResult:
    plan = found.solution.plan
    cost = found.costs.choice(plan, layer.name)
    return report.LayerResult(
        name=layer.name,
        kind=layer.kind,
        weights=layer.weights,
        macs=layer.macs,
        weight_bits=plan.weight_bits[layer.name],
        activation_bits=max(plan.activation_bits[group] for group in layer.input_groups),
        flash_bytes=cost.flash_bytes,
        latency_ms=cost.latency_ms,
        energy_uj=cost.energy_uj if "energy_uj" in found.costs.marks else None,
        scores={
            bits: report.LayerScore(rise=score.rise, standard_error=score.standard_error)
            for bits, score in found.scores.scores[layer.name].items()
        },
    )


def _compared_plans(found: Findings) -> Iterator[report.ComparedPlan]:
    for compared in found.solution.comparison:
        yield report.ComparedPlan(
            origin=compared.plan.origin,
            weight_bits_mean=compared.plan.mean_weight_bits(found.table),
            flash_bytes=compared.flash_bytes,
            feasible=compared.feasible,
            chosen=compared.chosen,
            loss=compared.loss,
            samples=0 if compared.loss is None else found.held_back_samples,
        )


def _exported_file(found: Findings) -> report.ExportedFile:
    verification = found.verification
    by_name = format_named(found.file_format).registers_kernels
    return report.ExportedFile(
        format=found.file_format,
        file_name=found.file,
        file_bytes=verification.file_bytes,
        predicted_flash_bytes=int(found.solution.totals["flash_bytes"]),
        verified=verification.verified,
        compared_values=verification.values,
        differing_values=verification.differing,
        max_difference=verification.largest_difference,
        kernels_to_register=tuple(verification.kernels) if by_name else (),
    )


def _warnings(found: Findings) -> Iterator[str]:
    if found.held_back_only:
        yield (
            "No evaluation data were given: the quality was measured on held-back calibration "
            "samples, which also judged the plans."
        )
    if found.float_layers:
        yield (
            f"Left in float: {', '.join(found.float_layers)}. Their weights count in flash, but "
            "what they compute counts in neither latency nor energy."
        )
    if not found.asked.limits():
        yield "No budget was set, so nothing kept the widths down."
    widths = set(found.solution.plan.activation_bits.values())
    bits = widths.pop() if len(widths) == 1 else None
    for sentence in reachable(found.costs, found.asked, bits).slack_budgets():
        name, rest = sentence.split(" ", 1)
        yield f"{'RAM' if name == 'ram' else name.capitalize()} {rest}."
