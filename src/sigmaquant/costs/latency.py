"""Latency: the profile's cycles applied to what a layer does."""

from __future__ import annotations

from sigmaquant.costs.flash import packed_weight_bytes
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerSpec, StepSpec


def layer_latency_ms(layer: LayerSpec, weight_bits: int, profile: DeviceProfile) -> float:
    """Time of one layer for one sample, over all places it is used."""
    return _ms(layer_cycles(layer, weight_bits, profile), profile)


def layer_cycles(layer: LayerSpec, weight_bits: int, profile: DeviceProfile) -> float:
    """Cycles of one layer for one sample: the sum described at ``KernelCycles``.

    Outputs follow from the MACs, which cover every place a shared layer is used; what is paid for
    each use scales with them.
    """
    kernel = profile.latency.kernels[layer.kind]
    block = kernel.dot_product_block
    outputs = layer.macs / layer.kernel_elements
    padded_length = -(-layer.kernel_elements // block) * block
    patch_elements = outputs / layer.channels * layer.kernel_elements * layer.groups
    stored_bytes = packed_weight_bytes(layer, weight_bits, profile.weight_storage)
    cycles_per_use = (
        layer.weights * kernel.cycles_per_weight.get(weight_bits, 0.0)
        + stored_bytes * profile.latency.weight_fetch.cycles_per_byte
        + kernel.cycles_per_layer
    )
    return (
        outputs * padded_length * kernel.cycles_per_mac[weight_bits]
        + patch_elements * kernel.cycles_per_patch_element
        + outputs * kernel.cycles_per_output
        + outputs / layer.outputs * cycles_per_use
    )


def step_latency_ms(step: StepSpec, elements: int, profile: DeviceProfile) -> float:
    """Time of an operator without weights that handles so many values."""
    model = profile.latency
    cost = model.other_operators if step.quantized else model.float_operators
    return _ms(elements * cost.cycles_per_element, profile)


def _ms(cycles: float, profile: DeviceProfile) -> float:
    return cycles / (profile.clock.mhz * 1000)
