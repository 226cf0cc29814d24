"""``check_calibration``: do the calibration data stand for what the network will see?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sigmaquant.calibration.batches import Batch, checked_batches, read_batches, samples_of
from sigmaquant.calibration.check import findings
from sigmaquant.calibration.check.clipping import standard_error
from sigmaquant.calibration.check.observation import (
    Observation,
    in_blocks,
    in_one_block,
    input_layers,
    observe,
    observe_inputs,
    seen_by_ranges,
)
from sigmaquant.calibration.check.shift import BLOCKS, shift
from sigmaquant.calibration.check.stability import DEFAULT_WEIGHT_BITS, score_stability
from sigmaquant.calibration.ranges import activation_ranges
from sigmaquant.calibration_check import (
    CalibrationCheck,
    ComparedWith,
    Finding,
    GroupClipping,
    LayerShift,
)
from sigmaquant.errors import DataError
from sigmaquant.layers import LayerTable
from sigmaquant.network import Network
from sigmaquant.scores import SensitivityTable

_RANGE_BITS = 8  # the default width of activations


def check_calibration(
    network: Network,
    calibration: Iterable[Any],
    deployment: Iterable[Any] | None = None,
    scores: SensitivityTable | Sequence[SensitivityTable] | None = None,
    *,
    compared_with: ComparedWith = "deployment",
    seed: int = 0,
) -> CalibrationCheck:
    """Whether the calibration data stand for what the network will see.

    Two passes over half of the calibration data, one over all of them and one over the deployment
    data, all in the float network; of the latter only sums are kept.

    Args:
        network: the captured float network.
        calibration: loader of the data that layers are scored and rounded with.
        deployment: loader of data as they occur in use; labels are not needed. Without it only
            the calibration data themselves are looked at.
        scores: made with the calibration data, or two tables, each made with one half of them.
        compared_with: what the findings call the deployment data.
        seed: of all random halves.

    Raises:
        DataError: data that are empty, hold NaN or do not fit the network, or a single sample.
        ArtifactError: scores of another network.
        ConfigError: neither one table of scores nor two.
    """
    batches = read_batches(calibration, network, what="calibration")
    if deployment is None:
        found = _alone(network, batches)
    else:
        found = _compared(network, batches, deployment, compared_with, seed)
    return found if scores is None else with_scores(found, network.table, scores, seed=seed)


def with_scores(
    check: CalibrationCheck,
    table: LayerTable,
    scores: SensitivityTable | Sequence[SensitivityTable],
    mean_weight_bits: float = DEFAULT_WEIGHT_BITS,
    seed: int = 0,
) -> CalibrationCheck:
    """The check with what the scores tell; see ``score_stability``."""
    stability = score_stability(table, scores, mean_weight_bits, seed)
    more = tuple(findings.score_findings(stability))
    return check.model_copy(update={"stability": stability, "findings": check.findings + more})


def _alone(network: Network, batches: Sequence[Batch]) -> CalibrationCheck:
    seen = observe_inputs(batches)
    assert seen.inputs is not None
    names = _input_names(network)
    return CalibrationCheck(
        calibration_samples=seen.samples,
        findings=(
            *findings.sample_findings(seen.samples, network.table),
            *findings.constant_findings(names, seen.inputs, None, ""),
        ),
    )


def _compared(
    network: Network,
    batches: Sequence[Batch],
    deployment: Iterable[Any],
    what: ComparedWith,
    seed: int,
) -> CalibrationCheck:
    whole_batches = network.batch_size is not None
    units = len(batches) if whole_batches else samples_of(batches)
    if units < 2:
        raise DataError(
            "a single calibration sample (or batch, of a network of fixed batch size) cannot be "
            "split into halves; give at least 2, better 256"
        )
    blocks = min(BLOCKS, units)
    blocked = tuple(in_blocks(batches, blocks, seed, whole_batches))
    bits = dict.fromkeys(network.table.groups, _RANGE_BITS)
    ranges = activation_ranges(network, seen_by_ranges(blocked), bits)
    ours = observe(network, blocked, blocks, ranges)
    others = (batch for batch in checked_batches(deployment, network, what) if len(batch))
    theirs = observe(network, in_one_block(others), 1, ranges)
    if theirs.samples == 0:
        raise DataError(f"the {what} data gave no samples; check their source and filters")
    clipping, shifts = _clipping(ours, theirs), _shifts(network, ours, theirs, seed)
    return CalibrationCheck(
        calibration_samples=ours.samples,
        compared_with=what,
        compared_samples=theirs.samples,
        clipping=clipping,
        shifts=shifts,
        findings=(
            *_data_findings(network, ours, theirs, what),
            *findings.clipping_findings(clipping, what),
            *findings.shift_findings(shifts, input_layers(network), what),
        ),
    )


def _data_findings(
    network: Network, ours: Observation, theirs: Observation, what: str
) -> Iterator[Finding]:
    assert ours.inputs is not None
    assert theirs.inputs is not None
    assert ours.classes is not None
    assert theirs.classes is not None
    names = _input_names(network)
    yield from findings.sample_findings(ours.samples, network.table)
    scaled = tuple(findings.scale_findings(names, ours.inputs, theirs.inputs, what))
    yield from scaled
    yield from findings.constant_findings(names, ours.inputs, theirs.inputs, what)
    if not scaled:  # or the network's answers mean nothing
        yield from findings.class_findings(ours.classes, theirs.classes, what)


def _clipping(ours: Observation, theirs: Observation) -> tuple[GroupClipping, ...]:
    return tuple(
        GroupClipping(
            group=group,
            held_back=held_back.mean,
            deployment=theirs.clipped[group].mean,
            standard_error=standard_error(held_back, theirs.clipped[group]),
        )
        for group, held_back in ours.clipped.items()
    )


def _shifts(
    network: Network, ours: Observation, theirs: Observation, seed: int
) -> tuple[LayerShift, ...]:
    """Of every layer whose inputs vary at all."""
    found = {
        layer.name: shift(ours.moments[layer.name], theirs.moments[layer.name], seed)
        for layer in network.table.layers
    }
    return tuple(
        LayerShift(layer=layer, shift=each.shift, noise=each.noise, noise_limit=each.noise_limit)
        for layer, each in found.items()
        if each is not None
    )


def _input_names(network: Network) -> tuple[str, ...]:
    return tuple(network.places[node] for node in network.runner().inputs)
