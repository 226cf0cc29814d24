"""From figures to findings: what is worth a note, what a warning, and what to do.

Limits that were measured were measured on the digits network of ``demo_network`` at 3 bits with
8-bit activations: calibrated with one kind of images and used on another, its divergence from the
float network was compared with that of one calibrated with the right kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sigmaquant.calibration.check.classes import Classes, missing_classes
from sigmaquant.calibration.check.inputs import InputFacts
from sigmaquant.calibration.check.shift import FEWEST_SAMPLES
from sigmaquant.calibration.check.stability import RELIABLE, reliability
from sigmaquant.calibration_check import (
    Finding,
    GroupClipping,
    LayerShift,
    ScoreStability,
    Severity,
)
from sigmaquant.layers import LayerTable

SPREAD_RATIO = 8.0
"""Between inputs that were scaled differently. Light and gain change the spread of images by less;
0..1 and 0..255 are 255 apart, 0..1 and -1..1, which their limits tell, 2."""

VARYING = 0.1
"""Of the input's standard deviation: a channel that varies less is as good as constant."""

MISSING_NOTE, MISSING_WARNING = 0.05, 0.25
"""Fraction of samples whose class is missing, beyond what the draw explains. Calibrated without
one class of ten, the digits network had 1.1 times the divergence; without three, 1.4 times;
without five, 3 times."""

CLIPPED_NOTE, CLIPPED_WARNING = 0.001, 0.01
"""Fraction of values, beyond that of held-back calibration data. Ranges are usually set to keep
99.9 % of the values or more (the percentiles of Wu et al. 2020, "Integer Quantization for Deep
Learning Inference")."""

SHIFT_NOTE, SHIFT_WARNING = 0.2, 0.3
"""Standard deviations, beyond the noise. The digits network had 1.4 times the divergence at 0.2
(three classes of ten missing) and 3 to 4 times at 0.3 (five missing, or brighter by 0.2 in -1..1);
mirrored digits, at 0.4, only 1.25 times."""

SIGNIFICANT = 3.0
"""Standard errors: passed by chance once in 700 tensors."""

UNRELIABLE = 0.8
"""Reliability that is enough to explore, and not to decide (as ``stability.RELIABLE``)."""

_NAMED = 3


def sample_findings(samples: int, table: LayerTable) -> Iterator[Finding]:
    """Too few samples: at all, or for the rounding of some layers."""
    if samples < FEWEST_SAMPLES:
        yield Finding(
            kind="samples",
            severity="warning",
            value=samples,
            unit="samples",
            what=f"There are only {samples} calibration samples.",
            advice=f"Give at least {FEWEST_SAMPLES}, better 256 or more.",
        )
    needed = {
        layer.name: -(-layer.kernel_elements * layer.channels // layer.outputs)
        for layer in table.layers
    }
    short = [name for name, count in needed.items() if count > samples]
    if short:
        most = max(needed[name] for name in short)
        yield Finding(
            kind="samples",
            severity="note",
            where=tuple(short),
            value=most,
            unit="samples",
            what=f"{samples} samples show {_names(short)} fewer different inputs than a row of its "
            "weights has elements, so its rounding fits these samples more than others.",
            advice=f"More samples help, up to {most:,}.",
        )


def scale_findings(
    names: Sequence[str],
    calibration: Sequence[InputFacts | None],
    other: Sequence[InputFacts | None],
    what: str,
) -> Iterator[Finding]:
    """Inputs that were scaled in different ways."""
    for name, ours, theirs in zip(names, calibration, other, strict=True):
        if ours is None or theirs is None:
            continue
        patterns = {_pattern(*facts.limits) for facts in (ours, theirs)}
        spreads = ours.deviation, theirs.deviation
        ratio = spreads[1] / spreads[0] if all(spreads) else 1.0
        far = not 1 / SPREAD_RATIO < ratio < SPREAD_RATIO
        if far or patterns == {"0..1", "-1..1"}:
            yield Finding(
                kind="scale",
                severity="warning",
                where=(name,),
                value=ratio,
                unit="times the spread",
                what=f"{what.capitalize()} values of input {name} lie in {_limits(theirs)}, "
                f"calibration values in {_limits(ours)}: {ratio:.3g} times the spread.",
                advice="Scale both as in training.",
            )


def constant_findings(
    names: Sequence[str],
    calibration: Sequence[InputFacts | None],
    other: Sequence[InputFacts | None] | None,
    what: str,
) -> Iterator[Finding]:
    """Channels of the inputs that never change, and where there are other data, do so there."""
    compared = [None] * len(names) if other is None else other
    for name, ours, theirs in zip(names, calibration, compared, strict=True):
        if ours is None:
            continue
        constant = ours.constant
        if theirs is not None:
            spread = max(ours.deviation, theirs.deviation)
            constant = constant & (theirs.deviations > VARYING * spread)
        count = int(constant.sum())
        if count:
            tail = "" if theirs is None else f", and vary in the {what} data"
            yield Finding(
                kind="constant",
                severity=_severity(theirs is not None),
                where=(name,),
                value=count,
                unit="channels",
                what=f"{count} of {len(constant)} channels of input {name} have one value in all "
                f"calibration samples{tail}.",
                advice="Check how the calibration data are read; a channel that varies in use has "
                "to vary in them.",
            )


def class_findings(calibration: Classes, other: Classes, what: str) -> Iterator[Finding]:
    """Classes that the calibration data lack or almost lack."""
    missing = missing_classes(calibration, other)
    if missing is None:
        return
    excess = missing.share - missing.by_chance
    if excess > max(MISSING_NOTE, SIGNIFICANT * missing.deviation):
        shown = ", ".join(map(str, missing.classes[:_NAMED]))
        shown += ", ..." if len(missing.classes) > _NAMED else ""
        how = "by their labels" if missing.by_labels else "by the float network's answers"
        yield Finding(
            kind="classes",
            severity=_severity(excess > MISSING_WARNING),
            value=missing.share,
            unit="fraction of samples",
            what="The calibration data hold no or hardly any samples of "
            f"{'class' if len(missing.classes) == 1 else 'classes'} {shown}, to which "
            f"{_percent(missing.share)} of the {what} data belong ({how}).",
            advice="Draw the calibration samples at random from all classes.",
        )


def clipping_findings(clipping: Sequence[GroupClipping], what: str) -> Iterator[Finding]:
    """Tensors whose values leave the calibrated range."""
    excess = {
        each.group: each.deployment - each.held_back
        for each in clipping
        if each.deployment - each.held_back > SIGNIFICANT * each.standard_error
    }
    left = [each for each in clipping if excess.get(each.group, 0.0) >= CLIPPED_NOTE]
    if left:
        worst = max(left, key=lambda each: excess[each.group])
        groups = [each.group for each in left]
        yield Finding(
            kind="clipping",
            severity=_severity(excess[worst.group] >= CLIPPED_WARNING),
            where=tuple(groups),
            value=worst.deployment,
            unit="fraction of values",
            what=f"{what.capitalize()} data leave the calibrated ranges of {_names(groups)} and "
            f"are clipped there: {_percent(worst.deployment)} of the values of {worst.group}, "
            f"against {_percent(worst.held_back)} of held-back calibration data.",
            advice="Calibrate with samples that cover what occurs in use, the extremes too.",
        )


def shift_findings(
    shifts: Sequence[LayerShift], input_layers: Sequence[str], what: str
) -> Iterator[Finding]:
    """Layers whose inputs are distributed otherwise."""
    excess = {each.layer: _beyond_noise(each) for each in shifts}
    moved = [each for each in shifts if excess[each.layer] >= SHIFT_NOTE]
    if not moved:
        return
    worst = max(moved, key=lambda each: excess[each.layer])
    layers = [each.layer for each in moved]
    # Later layers can amplify a shift that is too small to name where it begins.
    if max(excess.get(layer, 0.0) for layer in input_layers) >= SHIFT_NOTE / 2:
        start = f"The inputs themselves differ: {what} data have moved"
        advice = (
            "Prepare both in the same way (scaling, crop, order of colours), or draw the "
            f"calibration samples from the {what} data."
        )
    else:
        start = f"The inputs are alike, but inside the network {what} data have moved"
        advice = (
            "They show other things: draw the calibration samples at random from the "
            f"{what} data, all classes and conditions."
        )
    yield Finding(
        kind="shift",
        severity=_severity(excess[worst.layer] >= SHIFT_WARNING),
        where=tuple(layers),
        value=worst.shift,
        unit="standard deviations",
        what=f"{start} at {_names(layers)}: by {_figure(worst.shift)} standard deviations at "
        f"{worst.layer}, where noise explains {_figure(worst.noise_limit)} at most.",
        advice=advice,
    )


def score_findings(stability: ScoreStability | None) -> Iterator[Finding]:
    """Scores that are not known well enough."""
    if stability is None or reliability(stability.rank_correlation) >= RELIABLE:
        return
    now, needed = stability.samples, stability.samples_needed
    yield Finding(
        kind="scores",
        severity=_severity(reliability(stability.rank_correlation) < UNRELIABLE),
        value=stability.rank_correlation,
        unit="rank correlation",
        what="The scores are unstable: from two halves of the samples the layers rank alike with "
        f"a correlation of {stability.rank_correlation:.2f}, and plans of "
        f"{stability.mean_weight_bits:.2g} bits a weight give "
        f"{_percent(stability.changed_weights)} of the weights another width.",
        advice=f"Score with more samples: {now:,} -> about {needed:,}.",
    )


def _beyond_noise(found: LayerShift) -> float:
    """The shift without what noise adds to its square; 0 where noise alone can explain it."""
    if found.shift <= found.noise_limit:
        return 0.0
    return math.sqrt(max(0.0, found.shift**2 - found.noise**2))


def _pattern(low: float, high: float) -> str:
    """Which of the usual scalings the limits look like."""
    if low >= 0 and high <= 1:
        return "0..1"
    return "-1..1" if -1 <= low < -0.5 and high <= 1 else "other"


def _limits(facts: InputFacts) -> str:
    low, high = facts.limits
    return f"{low:.3g}..{high:.3g}"


def _severity(is_warning: bool) -> Severity:
    return "warning" if is_warning else "note"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %" if fraction < 0.995 else "100 %"


def _figure(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _names(names: Sequence[str]) -> str:
    """The first of them."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
