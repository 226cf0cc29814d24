"""Time of a layer by the latency model "roofline": arithmetic or data, whichever takes longer."""

from __future__ import annotations

from sigmaquant.costs.flash import packed_weight_bytes
from sigmaquant.costs.traffic import layer_activation_bytes, layer_uses, step_bytes
from sigmaquant.devices.latency_models import RooflineModel
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerSpec, StepSpec

_PER_MS = 1e-6  # of a rate in 1e9 a second: 1 / 1e9 s = 1e-6 ms
_MS_PER_US = 1e-3


def layer_roofline_ms(
    layer: LayerSpec,
    weight_bits: int,
    activation_bits: int,
    model: RooflineModel,
    profile: DeviceProfile,
) -> float:
    """Time of one layer for one sample, over all places it is used."""
    rates = model.rates[layer.kind].macs_at(activation_bits)
    weight_bytes = packed_weight_bytes(layer, weight_bits, profile.weight_storage)
    activation_bytes = layer_activation_bytes(layer, activation_bits, profile.activation_storage)
    arithmetic_ms = layer.executed_macs / rates.gmac_per_s[weight_bits] * _PER_MS
    data_ms = (
        weight_bytes / model.weight_bandwidth.gb_per_s
        + activation_bytes / model.activation_bandwidth.gb_per_s
    ) * _PER_MS
    uses = layer_uses(layer)
    return max(arithmetic_ms, uses * data_ms) + uses * model.overhead.layer_us * _MS_PER_US


def step_roofline_ms(step: StepSpec, elements: int, model: RooflineModel) -> float:
    """Time of an operator without weights that handles so many values."""
    bandwidth = model.operator_bandwidth or model.activation_bandwidth
    return step_bytes(step, elements) / bandwidth.gb_per_s * _PER_MS
