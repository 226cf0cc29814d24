"""The result of the calibration check: what is unlike other data, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import pydantic

from sigmaquant.artifact import Artifact, Frozen

Severity = Literal["note", "warning"]
Kind = Literal["samples", "scale", "constant", "classes", "clipping", "shift", "scores"]
ComparedWith = Literal["deployment", "evaluation"]

_FINITE = pydantic.ConfigDict(allow_inf_nan=False)
Count = Annotated[int, pydantic.Field(ge=0)]
Amount = Annotated[float, pydantic.Field(ge=0)]
Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]


class Finding(Frozen):
    """One thing that a user should know of the calibration data.

    Attributes:
        kind: which measure found it.
        severity: a warning may cost accuracy; a note is good to know.
        where: layers, precision groups or inputs, in order of execution; empty for the whole set.
        value: the figure behind it, the worst where there are several.
        unit: of ``value``, such as "fraction of values".
        what: what was found, in one or two sentences.
        advice: what to do, in one sentence.
    """

    model_config = _FINITE

    kind: Kind
    severity: Severity
    where: tuple[str, ...] = ()
    value: float
    unit: str
    what: str
    advice: str

    @property
    def text(self) -> str:
        """What was found, and what to do."""
        return f"{self.what} {self.advice}"


class GroupClipping(Frozen):
    """Values outside the range of one precision group, which is fitted to half of the samples.

    Attributes:
        group: the precision group.
        held_back: fraction of the other half's values.
        deployment: fraction of the values of the data compared with.
        standard_error: of the difference of the two.
    """

    model_config = _FINITE

    group: str
    held_back: Fraction
    deployment: Fraction
    standard_error: Amount


class LayerShift(Frozen):
    """How far the inputs of one layer have moved, in standard deviations of its calibration values.

    Attributes:
        layer: the layer's name.
        shift: distance between calibration data and the data compared with.
        noise: what halves of the calibration data would show at these sample counts, root mean
            square.
        noise_limit: the largest that any split into halves showed; raised where samples are few.
    """

    model_config = _FINITE

    layer: str
    shift: Amount
    noise: Amount
    noise_limit: Amount


class ScoreStability(Frozen):
    """How far the scores of two halves of the calibration data agree.

    Attributes:
        samples: that were scored, both halves together.
        rank_correlation: Spearman's, between the layers' scores of the halves, averaged over the
            widths.
        changed_weights: fraction of the weights that plans of one size, each made from one half,
            give another width.
        mean_weight_bits: size of these plans, in bits a weight.
        samples_needed: about so many give scores that can be relied on.
        measured: whether two halves were scored; else it is inferred from the standard errors.
    """

    model_config = _FINITE

    samples: Count
    rank_correlation: Annotated[float, pydantic.Field(ge=-1, le=1)]
    changed_weights: Fraction
    mean_weight_bits: Amount
    samples_needed: Count
    measured: bool


class CalibrationCheck(Artifact):
    """How well the calibration data stand for other data.

    Attributes:
        calibration_samples: number of calibration samples.
        compared_with: what kind of data they were compared with; None where there were none.
        compared_samples: number of those.
        clipping: by precision group; empty where there was nothing to compare with.
        shifts: by layer, in order of execution; likewise.
        stability: of the scores; None where there are none, or too few layers to rank.
        findings: the most basic first.
    """

    calibration_samples: Count
    compared_with: ComparedWith | None = None
    compared_samples: Count = 0
    clipping: tuple[GroupClipping, ...] = ()
    shifts: tuple[LayerShift, ...] = ()
    stability: ScoreStability | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def headline(self) -> str:
        """What was looked at and how much was found, in one sentence."""
        against = ""
        if self.compared_with is not None:
            against = f" against {self.compared_samples:,} {self.compared_with} samples"
        warnings, notes = _counted(self.warnings, "warning"), _counted(self.notes, "note")
        return f"{self.calibration_samples:,} calibration samples{against}: {warnings}, {notes}."

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that may cost accuracy."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that are good to know."""
        return tuple(finding for finding in self.findings if finding.severity == "note")


def _counted(found: Sequence[Finding], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}"
