"""Latency: the profile's model applied to each layer, scaled as the user's board measured."""

from __future__ import annotations

from sigmaquant.costs.cycles import layer_cycles
from sigmaquant.costs.roofline import layer_roofline_ms, step_roofline_ms
from sigmaquant.devices.latency_models import CyclesModel
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerSpec, StepSpec


def layer_latency_ms(
    layer: LayerSpec, weight_bits: int, activation_bits: int, profile: DeviceProfile
) -> float:
    """Time of one layer for one sample, over all places it is used."""
    model = profile.latency
    if isinstance(model, CyclesModel):
        cycles = layer_cycles(layer, weight_bits, activation_bits, model, profile)
        unscaled_ms = _ms(cycles, profile)
    else:
        unscaled_ms = layer_roofline_ms(layer, weight_bits, activation_bits, model, profile)
    return unscaled_ms * profile.latency_scale(layer.kind)


def step_latency_ms(step: StepSpec, elements: int, profile: DeviceProfile) -> float:
    """Time of an operator without weights that handles so many values."""
    model = profile.latency
    if isinstance(model, CyclesModel):
        cost = model.other_operators if step.quantized else model.float_operators
        unscaled_ms = _ms(cost.cycles(step.operator, elements), profile)
    else:
        unscaled_ms = step_roofline_ms(step, elements, model)
    return unscaled_ms * profile.other_latency_scale


def start_latency_ms(profile: DeviceProfile) -> float:
    """Time that a sample takes before anything of the network runs."""
    model = profile.latency
    if not isinstance(model, CyclesModel):
        unscaled_ms = model.overhead.network_ms
    else:
        unscaled_ms = 0.0 if model.start is None else _ms(model.start.cycles_per_sample, profile)
    return unscaled_ms * profile.other_latency_scale


def _ms(cycles: float, profile: DeviceProfile) -> float:
    assert profile.clock is not None, "a profile with cycles has a clock"
    return cycles / (profile.clock.mhz * 1000)
