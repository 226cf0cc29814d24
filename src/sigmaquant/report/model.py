"""Everything a run found, as plain records: what the terminal and the page are printed from.

Conventions: sizes in bytes, times in milliseconds (stages: seconds), energies in microjoules,
accuracies as fractions of 1. A figure that is not known is ``None``, never 0. NaN and infinity are
refused, since JSON has neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

import pydantic

from sigmaquant.artifact import Artifact, Frozen
from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.calibration_check import CalibrationCheck
from sigmaquant.layers import LayerKind

Metric = Literal["flash_bytes", "peak_ram_bytes", "latency_ms", "energy_uj"]
Mark = Literal["measured", "emulated", "derived", "estimated"]
Stage = Literal["float", "quantized", "finetuned", "exported"]
QualityMetric = Literal["accuracy", "loss"]

STAGES: tuple[Stage, ...] = ("float", "quantized", "finetuned", "exported")
"""The states of the network whose quality is reported, in the order they come to be."""

METRIC_TITLES: dict[Metric, str] = {
    "flash_bytes": "Flash",
    "peak_ram_bytes": "Peak RAM",
    "latency_ms": "Latency",
    "energy_uj": "Energy",
}
"""Cost metrics as people name them."""

MARKS: dict[Mark, str] = {
    "measured": "timed or counted on the real thing",
    "emulated": "counted in an emulator of the device",
    "derived": "calculated from measured or emulated figures",
    "estimated": "taken from data sheets or the literature",
}
"""What each mark says about where a figure comes from, strongest evidence first."""

_FINITE = pydantic.ConfigDict(allow_inf_nan=False)
Count = Annotated[int, pydantic.Field(ge=0)]
Amount = Annotated[float, pydantic.Field(ge=0)]
Positive = Annotated[float, pydantic.Field(gt=0)]


class Provenance(Frozen):
    """What it takes to make the report again.

    Attributes:
        created: with time zone; shown in UTC.
        sigmaquant: version of this package.
        versions: of what the result depends on ("torch", "numpy", ...), by name.
        seed: of every random draw.
        commands: shell commands that repeat the run.
    """

    created: pydantic.AwareDatetime
    sigmaquant: str
    versions: dict[str, str]
    seed: int
    commands: tuple[str, ...] = ()


class Target(Frozen):
    """The device: its profile's name ("cortex-m4") and its title for people."""

    name: str
    title: str


class Scoring(Frozen):
    """How the layers' sensitivity was measured.

    Attributes:
        metric: such as "loss" or "taylor".
        loss: the loss whose rise is scored, such as "kl".
        rounding: of the candidates, as ``quantize`` calls it.
        samples: number of calibration samples.
    """

    metric: str
    loss: str
    rounding: str
    samples: Count


class Refinement(Frozen):
    """What was gained by measuring plans, where the strategy does.

    Attributes:
        measurements: plans measured, the first one included.
        kept: how many of them improved on the best before.
        loss_before: of the first plan, on held-back calibration data; None where not finite.
        loss_after: of the answer, on the same samples.
        standard_error: of their difference, where the losses of samples are known.
    """

    model_config = _FINITE

    measurements: Count
    kept: Count
    loss_before: float | None
    loss_after: float | None
    standard_error: Amount | None


class Revision(Frozen):
    """What came of revising the plan once, after fine-tuning.

    Attributes:
        moves: measured around the plan, on the fine-tuned network.
        loss_again: of the network fine-tuned again under the plan of the last move, on the same
            samples; None where no move was kept, or the loss is not finite.
        taken: whether that network is the result, and its plan the plan.
    """

    model_config = _FINITE

    moves: Refinement
    loss_again: float | None = None
    taken: bool = False


class Solution(Frozen):
    """How the plan was found.

    Attributes:
        strategy: such as "greedy".
        status: what the solver claims of its answer, such as "heuristic" or "optimal".
        gap: proven relative distance from the optimum, where the solver proves one.
        rise: summed scores of the plan, in the unit of the scores.
        rise_standard_error: of ``rise``.
        refinement: None where the strategy goes by scores alone.
    """

    model_config = _FINITE

    strategy: str
    status: str
    gap: Amount | None = None
    rise: float | None = None
    rise_standard_error: Amount | None = None
    refinement: Refinement | None = None


class BudgetUse(Frozen):
    """One cost of the network on the device, and its limit.

    Attributes:
        metric: which cost; its unit is the suffix.
        limit: None where the user set none.
        used: the plan's cost.
        mark: the weakest evidence behind ``used``.
        float_value: the same cost in float32, where known.
        uniform8_value: the same cost with 8 bits in every layer, where known.
    """

    model_config = _FINITE

    metric: Metric
    limit: Positive | None
    used: Amount
    mark: Mark
    float_value: Amount | None = None
    uniform8_value: Amount | None = None

    @property
    def fits(self) -> bool:
        """Whether the limit holds; true where there is none."""
        return self.limit is None or self.used <= self.limit


class LayerScore(Frozen):
    """Rise of the loss when one layer alone has one width, and its standard error."""

    model_config = _FINITE

    rise: float
    standard_error: Amount = 0.0


class LayerResult(Frozen):
    """One layer: what it is, what it was given, what that costs.

    Attributes:
        name: module path.
        kind: kind of layer.
        weights: number of weights.
        macs: multiply-accumulates for one sample.
        weight_bits: chosen width of the weights.
        activation_bits: chosen width of the layer's input.
        flash_bytes, latency_ms, energy_uj: cost at the chosen widths; no energy where the
            device's is not known.
        scores: by weight width.
    """

    model_config = _FINITE

    name: str
    kind: LayerKind
    weights: pydantic.PositiveInt
    macs: Count
    weight_bits: WeightBits
    activation_bits: ActivationBits
    flash_bytes: Count
    latency_ms: Amount
    energy_uj: Amount | None
    scores: dict[WeightBits, LayerScore] = pydantic.Field(default_factory=dict)


class Quality(Frozen):
    """One figure of merit of one state of the network.

    Attributes:
        stage: which state: "float", "quantized" (before any training), "finetuned", "exported".
        metric: "accuracy" (fraction of 1) or "loss".
        value: the figure.
        samples: number of samples it was measured on.
    """

    model_config = _FINITE

    stage: Stage
    metric: QualityMetric
    value: float
    samples: Count

    @pydantic.model_validator(mode="after")
    def _accuracy_is_a_fraction(self) -> Self:
        if self.metric == "accuracy" and not 0 <= self.value <= 1:
            raise ValueError(f"accuracy is a fraction of 1, not {self.value}")
        return self


class ComparedPlan(Frozen):
    """A plan whose loss was measured before training: a uniform one, or the searched one.

    Attributes:
        origin: such as "uniform 4" or "greedy".
        weight_bits_mean: bits a weight.
        flash_bytes: size on the device.
        feasible: whether all budgets hold.
        chosen: whether this is the plan that was taken.
        loss: measured on held-back calibration data; None where it was not measured.
        accuracy: likewise, where there are labels.
        samples: number of samples behind ``loss`` and ``accuracy``.
    """

    model_config = _FINITE

    origin: str
    weight_bits_mean: Amount
    flash_bytes: Count
    feasible: bool
    chosen: bool = False
    loss: float | None = None
    accuracy: float | None = None
    samples: Count = 0


class CloseCall(Frozen):
    """A swap of one width step that the scores cannot settle: it changes less than their error.

    Attributes:
        raised: what would get its next wider width.
        raised_bits: that width.
        lowered: what would get its next narrower width.
        lowered_bits: that width.
        rise_difference: what the swap adds to the summed scores.
        standard_error: of that difference.
    """

    model_config = _FINITE

    raised: str
    raised_bits: ActivationBits
    lowered: str
    lowered_bits: ActivationBits
    rise_difference: float
    standard_error: Amount


class ExportedFile(Frozen):
    """A file written for a runtime, and what was checked of it.

    Attributes:
        format: such as "onnx".
        file_name: without folder.
        file_bytes: size of the file.
        float_file_bytes: size of the float32 network in the same format.
        predicted_flash_bytes: what the plan promised.
        verified: whether the runtime's answers were accepted.
        compared_values: number of output values compared with the integer reference.
        differing_values: how many of them differ.
        max_difference: the largest difference.
        latency_ratio_float: time in the runtime over that of the float32 file.
        kernels_to_register: what firmware has to register, where it names each kernel itself.
    """

    model_config = _FINITE

    format: str
    file_name: str
    file_bytes: Count
    float_file_bytes: Count | None = None
    predicted_flash_bytes: Count
    verified: bool
    compared_values: Count
    differing_values: Count
    max_difference: Amount
    latency_ratio_float: Amount | None = None
    kernels_to_register: tuple[str, ...] = ()


class StageTime(Frozen):
    """Wall-clock seconds of one stage of the run."""

    model_config = _FINITE

    stage: str
    seconds: Amount


class RunReport(Artifact):
    """Everything a run found.

    Attributes:
        network: name of the network's class.
        target: the device.
        provenance: what it takes to repeat the run.
        solution: how the plan was found.
        scoring: how sensitivity was measured.
        budgets: one entry a cost metric, at most.
        layers: in order of execution; at least one.
        activation_bits: by precision group, where not all have the same width.
        quality: one entry a stage and metric, at most.
        quality_loss: which loss that is, such as "cross entropy"; None where unknown.
        compared_plans: the chosen plan and its rivals, measured alike.
        plan_loss: the loss they were measured by; None where it is that of the scores.
        close_calls: swaps that the scores cannot settle, the closest first.
        revision: of the plan after fine-tuning; None where none was asked for.
        exports: the files written.
        stage_times: in order of execution.
        float_operators: operators that stay float32, as "place: operator".
        calibration: how well the calibration data stand for other data; None where not checked.
        warnings: plain sentences.
    """

    network: str
    target: Target
    provenance: Provenance
    solution: Solution
    scoring: Scoring
    budgets: tuple[BudgetUse, ...]
    layers: Annotated[tuple[LayerResult, ...], pydantic.Field(min_length=1)]
    activation_bits: dict[str, ActivationBits] = pydantic.Field(default_factory=dict)
    quality: tuple[Quality, ...] = ()
    quality_loss: str | None = None
    compared_plans: tuple[ComparedPlan, ...] = ()
    plan_loss: str | None = None
    close_calls: tuple[CloseCall, ...] = ()
    revision: Revision | None = None
    exports: tuple[ExportedFile, ...] = ()
    stage_times: tuple[StageTime, ...] = ()
    float_operators: tuple[str, ...] = ()
    calibration: CalibrationCheck | None = None
    warnings: tuple[str, ...] = ()

    @pydantic.model_validator(mode="after")
    def _entries_are_unique(self) -> Self:
        _refuse_repeats("budget", (budget.metric for budget in self.budgets))
        _refuse_repeats("layer", (layer.name for layer in self.layers))
        _refuse_repeats("quality", (f"{row.stage} {row.metric}" for row in self.quality))
        _refuse_repeats("chosen plan", ("chosen" for plan in self.compared_plans if plan.chosen))
        return self

    def budget(self, metric: Metric) -> BudgetUse | None:
        """The entry of one cost metric, if the report has it."""
        return next((budget for budget in self.budgets if budget.metric == metric), None)

    def quality_at(self, stage: Stage, metric: QualityMetric) -> Quality | None:
        """One figure of merit of one state of the network, if it was measured."""
        rows = (row for row in self.quality if (row.stage, row.metric) == (stage, metric))
        return next(rows, None)

    def final_quality(self, metric: QualityMetric) -> Quality | None:
        """The figure of merit of the last state that it was measured in, float apart."""
        found = (self.quality_at(stage, metric) for stage in reversed(STAGES[1:]))
        return next((row for row in found if row is not None), None)

    @property
    def weight_bits_mean(self) -> float:
        """Bits a weight, averaged over all weights."""
        weights = sum(layer.weights for layer in self.layers)
        bits = sum(layer.weights * layer.weight_bits for layer in self.layers)
        return bits / weights

    @property
    def broken_budgets(self) -> tuple[BudgetUse, ...]:
        """Budgets whose limit does not hold."""
        return tuple(budget for budget in self.budgets if not budget.fits)


def _refuse_repeats(what: str, keys: Iterable[str]) -> None:
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} given twice: {', '.join(repeated)}")
