"""A profile fitted to a board: from measured networks and layers to factors and their error."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs.parts import OTHER, cost_parts
from sigmaquant.devices.energy_models import UnknownEnergy
from sigmaquant.devices.evidence import Evidence
from sigmaquant.devices.fitting import Observation, common_factor, fitted_factors, left_out_errors
from sigmaquant.devices.profile import Calibration, DeviceProfile
from sigmaquant.errors import DeviceError
from sigmaquant.layers import LayerKind, LayerTable

_WELL_COVERED = 0.3  # share of a row's time that tells something of a kind
_LARGE_ERROR = 0.2


@dataclass(frozen=True)
class MeasuredRun:
    """What ran on the board, and what was measured.

    Attributes:
        name: for messages.
        table: the network.
        plan: its widths.
        latency_ms: of one sample.
        layer: the one that was measured alone; None for the whole network.
        energy_uj: of one sample, if measured.
    """

    name: str
    table: LayerTable
    plan: BitPlan
    latency_ms: float
    layer: str | None = None
    energy_uj: float | None = None


@dataclass(frozen=True)
class BoardFit:
    """A profile's factors, how well they predict, and what would tell more.

    Attributes:
        calibration: for the profile.
        before: relative latency error of each run, uncalibrated.
        after: with the factors.
        left_out: predicted from all other runs; empty with one run.
        advice: what to measure next, one sentence each.
    """

    calibration: Calibration
    before: tuple[float, ...]
    after: tuple[float, ...]
    left_out: tuple[float, ...]
    advice: tuple[str, ...]


def calibrate(profile: DeviceProfile, runs: Sequence[MeasuredRun], source: str) -> BoardFit:
    """Fit factors on a profile's times and energies.

    Args:
        profile: as it ships, not fitted before.
        runs: at least one.
        source: where the measurements come from.

    Raises:
        DataError: a run is of a layer that its network does not have.
        DeviceError: the profile was fitted before, cannot run what was measured, or has no energy
            that measured ones could be compared with.
    """
    if profile.calibration is not None:
        raise DeviceError(
            f"{profile.name} is fitted already: start from the profile that it was made of, with "
            "old and new measurements in one file"
        )
    kinds = [*map(str, profile.supports), OTHER]
    seen = [observation(run, profile) for run in runs]
    factors = fitted_factors(seen, kinds)
    left_out = left_out_errors(seen, kinds)
    fitted = Calibration(
        source=source,
        kind=Evidence.DERIVED,
        latency_scale={LayerKind(kind): factors[kind] for kind in kinds if kind != OTHER},
        other_latency_scale=factors[OTHER],
        measurements=len(runs),
        left_out_percent=_median_percent(left_out) if left_out else None,
    )
    energy_scale = _energy_scale(profile.model_copy(update={"calibration": fitted}), runs)
    return BoardFit(
        calibration=fitted.model_copy(update={"energy_scale": energy_scale}),
        before=tuple(each.error(dict.fromkeys(kinds, 1.0)) for each in seen),
        after=tuple(each.error(factors) for each in seen),
        left_out=left_out,
        advice=tuple(_advice(seen, left_out, kinds)),
    )


def observation(run: MeasuredRun, profile: DeviceProfile) -> Observation:
    """A run's latency as the profile predicts it, by operator kind, beside the measured one."""
    parts = cost_parts(run.table, profile, run.plan, run.layer)
    predicted = {kind: cost.latency_ms for kind, cost in parts.items()}
    return Observation(run.name, predicted, run.latency_ms)


def _energy_scale(profile: DeviceProfile, runs: Sequence[MeasuredRun]) -> float:
    """One factor on all energies, from the runs whose energy was measured; 1 where none was."""
    if isinstance(profile.energy, UnknownEnergy) and any(run.energy_uj for run in runs):
        raise DeviceError(
            f"{profile.name} predicts no energies that measured ones could be compared with: leave "
            "energy_uj out, or write an [energy] of measured power into the profile"
        )
    seen = []
    for run in runs:
        if run.energy_uj is not None:
            parts = cost_parts(run.table, profile, run.plan, run.layer)
            predicted = {kind: cost.energy_uj for kind, cost in parts.items()}
            seen.append(Observation(run.name, predicted, run.energy_uj))
    return common_factor(seen) if seen else 1.0


def _advice(
    seen: Sequence[Observation], left_out: Sequence[float], kinds: Sequence[str]
) -> list[str]:
    if not left_out:
        return [
            "measure a second network of other operators: one row gives one factor for all "
            "kinds, and no error to judge it by"
        ]
    shares = {kind: max(_share(each, kind) for each in seen) for kind in kinds if kind != OTHER}
    thin = [kind for kind, share in shares.items() if share < _WELL_COVERED]
    advice = [
        f"measure a network or layers that are mostly {kind}: no row has more than "
        f"{shares[kind]:.0%} of its time there"
        for kind in thin
    ]
    worst = max(range(len(seen)), key=lambda index: abs(left_out[index]))
    if abs(left_out[worst]) > _LARGE_ERROR:
        advice.append(
            f"measure {seen[worst].name} layer by layer: from the other rows it is predicted "
            f"{left_out[worst]:+.0%} off"
        )
    return advice or ["nothing: all kinds are covered and left-out rows are predicted well"]


def _share(seen: Observation, kind: str) -> float:
    total = sum(seen.predicted.values())
    return seen.predicted.get(kind, 0.0) / total if total else 0.0


def _median_percent(errors: Sequence[float]) -> float:
    return 100 * statistics.median(map(abs, errors))
