"""Energy: active power over time, or the sum of what the operations take."""

from __future__ import annotations

import math

from sigmaquant.costs.flash import packed_weight_bytes
from sigmaquant.devices.profile import DeviceProfile, PowerEnergy
from sigmaquant.layers import LayerSpec, StepSpec

_UJ_PER_PJ = 1e-6
_FLOAT_BYTES = 4


def layer_energy_uj(
    layer: LayerSpec,
    weight_bits: int,
    activation_bits: int,
    latency_ms: float,
    profile: DeviceProfile,
) -> float:
    """Energy of one layer for one sample; the output is taken to be as wide as the input."""
    energy = profile.energy
    if isinstance(energy, PowerEnergy):
        return energy.active_mw * latency_ms
    stored_bits = profile.activation_storage.bits[activation_bits]
    activation_bytes = (math.prod(layer.input_shape) + layer.outputs) * stored_bits / 8
    weight_bytes = packed_weight_bytes(layer, weight_bits, profile.weight_storage)
    uses = layer.macs / layer.kernel_elements / layer.outputs
    picojoules = (
        layer.macs * energy.pj_per_mac[weight_bits]
        + uses * weight_bytes * energy.pj_per_weight_byte
        + uses * activation_bytes * energy.pj_per_activation_byte
    )
    return picojoules * _UJ_PER_PJ + energy.static_mw * latency_ms


def step_energy_uj(
    step: StepSpec, elements: int, latency_ms: float, profile: DeviceProfile
) -> float:
    """Energy of an operator without weights: its values are read once and written once.

    A quantized value counts as one byte: the step's cost may not depend on the plan.
    """
    energy = profile.energy
    if isinstance(energy, PowerEnergy):
        return energy.active_mw * latency_ms
    moved_bytes = 2 * elements * (1 if step.quantized else _FLOAT_BYTES)
    return moved_bytes * energy.pj_per_activation_byte * _UJ_PER_PJ + energy.static_mw * latency_ms
