"""The weakest evidence behind each cost, so that a plan never looks surer than its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sigmaquant.devices.energy_models import OpsEnergy, PowerEnergy
from sigmaquant.devices.evidence import Evidence, SourcedByWidth, weakest
from sigmaquant.devices.latency_models import CyclesModel, RooflineModel
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.devices.runtime import Runtime
from sigmaquant.layers import LayerKind, LayerTable, StepSpec


def cost_marks(table: LayerTable, profile: DeviceProfile) -> dict[str, str]:
    """By metric, the weakest evidence among the figures that this network makes use of.

    A metric that the device has no figures for is not there.
    """
    flash = _over_widths(profile.weight_storage, profile.widths)
    latency = _latency_evidence(table, profile)
    if profile.runtime is not None:
        flash = profile.runtime.overhead.kind
        if profile.runtime.code is not None:
            flash = weakest(flash, profile.runtime.code.kind)
        latency = weakest(latency, *_runtime_evidence(profile.runtime))
    marks = {
        "flash_bytes": flash,
        "peak_ram_bytes": weakest(profile.activation_storage.kind, profile.reserve.kind),
        "latency_ms": latency,
        "energy_uj": _energy_evidence(table, profile, latency),
    }
    return {metric: mark.value for metric, mark in marks.items() if mark is not None}


def _runtime_evidence(runtime: Runtime) -> list[Evidence]:
    """Of the times that a runtime states; where it has none, the device's own figures hold."""
    kernels = (runtime.matrix, runtime.window)
    return [kernel.kind for kernel in kernels if kernel.time_over_int8 is not None]


def _latency_evidence(table: LayerTable, profile: DeviceProfile) -> Evidence:
    kinds = {layer.kind for layer in table.layers}
    others = [step for step in table.steps if step.layer is None]
    model = profile.latency
    if isinstance(model, CyclesModel):
        used = _cycles_evidence(kinds, others, model, profile)
    else:
        used = _roofline_evidence(kinds, others, model, profile)
    if not all(step.quantized for step in others):
        used.append(Evidence.ESTIMATED)
    if profile.clock is not None:
        used.append(profile.clock.kind)
    if profile.calibration is not None:
        used.append(profile.calibration.kind)
    return weakest(*used)


def _cycles_evidence(
    kinds: Iterable[LayerKind],
    others: Iterable[StepSpec],
    model: CyclesModel,
    profile: DeviceProfile,
) -> list[Evidence]:
    used = [model.weight_fetch.kind]
    if model.start is not None:
        used.append(model.start.kind)
    for kind in kinds:
        kernel = model.kernels[kind]
        used += _by_activations(kind, profile, kernel.macs_at)
        if kernel.unpack_first is not None and profile.reserve.weight_scratch_bytes:
            used.append(_over_widths(kernel.unpack_first, kernel.unpack_first.cycles_per_weight))
    operators = {True: model.other_operators, False: model.float_operators}
    return used + [operators[step.quantized].kind for step in others]


def _roofline_evidence(
    kinds: Iterable[LayerKind],
    others: Sequence[StepSpec],
    model: RooflineModel,
    profile: DeviceProfile,
) -> list[Evidence]:
    used = [model.weight_bandwidth.kind, model.activation_bandwidth.kind, model.overhead.kind]
    for kind in kinds:
        rates = model.rates[kind]
        used += _by_activations(kind, profile, rates.macs_at)
    if others and model.operator_bandwidth is not None:
        used.append(model.operator_bandwidth.kind)
    return used


def _energy_evidence(
    table: LayerTable, profile: DeviceProfile, latency: Evidence
) -> Evidence | None:
    energy = profile.energy
    if isinstance(energy, PowerEnergy):
        return weakest(energy.kind, latency)
    if not isinstance(energy, OpsEnergy):
        return None
    used = [latency]
    for kind in {layer.kind for layer in table.layers}:
        used += _by_activations(kind, profile, energy.macs_at)
    return weakest(*used)


def _by_activations(
    kind: LayerKind, profile: DeviceProfile, figures_at: Callable[[int], SourcedByWidth]
) -> list[Evidence]:
    """Evidence of every (weight, activation) pair that the device offers for this kind."""
    return [
        figures_at(activation_bits).kind_at(weight_bits)
        for weight_bits, inputs in profile.supports[kind].items()
        for activation_bits in inputs
    ]


def _over_widths(figures: SourcedByWidth, widths: Iterable[int]) -> Evidence:
    return weakest(*(figures.kind_at(bits) for bits in widths))
