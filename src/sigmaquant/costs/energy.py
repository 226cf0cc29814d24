"""Energy: active power over time, or the sum of what the operations take."""

from __future__ import annotations

from sigmaquant.costs.flash import packed_weight_bytes
from sigmaquant.costs.traffic import layer_activation_bytes, layer_uses, step_bytes
from sigmaquant.devices.energy_models import OpsEnergy, PowerEnergy, UnknownEnergy
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerSpec, StepSpec

_UJ_PER_PJ = 1e-6


def layer_energy_uj(
    layer: LayerSpec,
    weight_bits: int,
    activation_bits: int,
    latency_ms: float,
    profile: DeviceProfile,
) -> float:
    """Energy of one layer for one sample; the output is taken to be as wide as the input."""
    energy = profile.energy
    if not isinstance(energy, OpsEnergy):
        return powered_energy_uj(latency_ms, profile)
    activation_bytes = layer_activation_bytes(layer, activation_bits, profile.activation_storage)
    weight_bytes = packed_weight_bytes(layer, weight_bits, profile.weight_storage)
    uses = layer_uses(layer)
    picojoules = (
        layer.executed_macs * energy.macs_at(activation_bits).pj_per_mac[weight_bits]
        + uses * weight_bytes * energy.pj_per_weight_byte
        + uses * activation_bytes * energy.pj_per_activation_byte
    )
    return picojoules * _UJ_PER_PJ * profile.energy_scale + powered_energy_uj(latency_ms, profile)


def step_energy_uj(
    step: StepSpec, elements: int, latency_ms: float, profile: DeviceProfile
) -> float:
    """Energy of an operator without weights: its values are read once and written once."""
    powered = powered_energy_uj(latency_ms, profile)
    if not isinstance(profile.energy, OpsEnergy):
        return powered
    picojoules = step_bytes(step, elements) * profile.energy.pj_per_activation_byte
    return picojoules * _UJ_PER_PJ * profile.energy_scale + powered


def powered_energy_uj(latency_ms: float, profile: DeviceProfile) -> float:
    """What the device takes for as long as it runs, whatever it computes: mW x ms = uJ.

    Nothing where its energy is not known: the cost table then has no mark for energies.
    """
    energy = profile.energy
    if isinstance(energy, UnknownEnergy):
        return 0.0
    milliwatts = energy.active_mw if isinstance(energy, PowerEnergy) else energy.static_mw
    return milliwatts * latency_ms * profile.energy_scale
