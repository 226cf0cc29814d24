"""The weakest evidence behind each cost, so that a plan never looks surer than its figures."""

from __future__ import annotations

from sigmaquant.devices.evidence import Evidence, SourcedByWidth, weakest
from sigmaquant.devices.profile import DeviceProfile, OpsEnergy
from sigmaquant.layers import LayerTable


def cost_marks(table: LayerTable, profile: DeviceProfile) -> dict[str, str]:
    """By metric, the weakest evidence among the figures that this network makes use of."""
    latency = _latency_evidence(table, profile)
    energy = _energy_evidence(table, profile, latency)
    marks = {
        "flash_bytes": _over_widths(profile.weight_storage, profile.widths),
        "peak_ram_bytes": weakest(profile.activation_storage.kind, profile.reserve.kind),
        "latency_ms": latency,
        "energy_uj": energy,
    }
    return {metric: mark.value for metric, mark in marks.items()}


def _latency_evidence(table: LayerTable, profile: DeviceProfile) -> Evidence:
    model = profile.latency
    used = [profile.clock.kind, model.weight_fetch.kind]
    used += [
        _over_widths(model.kernels[kind], tuple(profile.supports[kind]))
        for kind in {layer.kind for layer in table.layers}
    ]
    others = [step for step in table.steps if step.layer is None]
    if any(step.quantized for step in others):
        used.append(model.other_operators.kind)
    if not all(step.quantized for step in others):
        used += [model.float_operators.kind, Evidence.ESTIMATED]
    return weakest(*used)


def _energy_evidence(table: LayerTable, profile: DeviceProfile, latency: Evidence) -> Evidence:
    energy = profile.energy
    if isinstance(energy, OpsEnergy):
        kinds = {layer.kind for layer in table.layers}
        widths = {bits for kind in kinds for bits in profile.supports[kind]}
        return weakest(_over_widths(energy, tuple(widths)), latency)
    return weakest(energy.kind, latency)


def _over_widths(figures: SourcedByWidth, widths: tuple[int, ...]) -> Evidence:
    return weakest(*(figures.kind_at(bits) for bits in widths))
