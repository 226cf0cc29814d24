"""A layer's choices where a runtime decides how weights are stored and run.

Only what the deployment really saves is offered: a width that no cost rewards gives way to the next
wider one, which is at least as accurate.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sigmaquant.costs.energy import layer_energy_uj
from sigmaquant.costs.latency import layer_latency_ms
from sigmaquant.costs.table import ChoiceCost
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.devices.runtime import PLAIN_BITS, Runtime, StoredWeights
from sigmaquant.layers import WIDTHS, LayerKind, LayerSpec, LayerTable

Choices = dict[int, dict[int, ChoiceCost]]


def deployed_choices(
    layer: LayerSpec,
    profile: DeviceProfile,
    runtime: Runtime,
    entropy_bits: Mapping[int, float] = MappingProxyType({}),
) -> Choices:
    """Costs of one layer by weight width, then activation width.

    Args:
        layer: its shapes.
        profile: of the device.
        runtime: what runs there.
        entropy_bits: by width, of one of the layer's weights, where it is known.
    """
    offered: Choices = {}
    for weight_bits in reversed(WIDTHS):
        stored = _stored(layer, weight_bits, runtime, entropy_bits.get(weight_bits))
        found = _costs(layer, stored, profile, runtime)
        if found and not any(_is_no_dearer(wider, found) for wider in offered.values()):
            offered[weight_bits] = found
    return dict(sorted(offered.items()))


def expanded_weight_bytes(layer: LayerSpec, runtime: Runtime) -> dict[int, int]:
    """By weight width, RAM that the weights take while the layer runs, if they are in a table."""
    return {bits: layer.weights for bits in WIDTHS if _stored(layer, bits, runtime).in_table}


def file_overhead_bytes(table: LayerTable, runtime: Runtime) -> int:
    """What the file holds beside layers and float parameters."""
    overhead = runtime.overhead
    counts = {layer.channels for layer in table.layers}
    code = runtime.code
    code_bytes = code.overhead_bytes(table.weights) if code else 0
    return (
        overhead.file_bytes
        + code_bytes
        + overhead.step_bytes * len(table.steps)
        + overhead.channel_count_bytes * sum(counts)
    )


def _costs(
    layer: LayerSpec, stored: StoredWeights, profile: DeviceProfile, runtime: Runtime
) -> dict[int, ChoiceCost]:
    """Costs by activation width; empty where the device cannot run this width."""
    flash_bytes = stored.size_bytes + layer.channels * runtime.overhead.channel_bytes
    times = 1.0 if stored.time_over_int8 is None else stored.time_over_int8
    executed = stored.container_bits if stored.time_over_int8 is None else PLAIN_BITS
    found = {}
    for activation_bits in profile.supports[layer.kind].get(executed, ()):
        if runtime.activation_bits is None or activation_bits in runtime.activation_bits:
            latency_ms = times * layer_latency_ms(layer, executed, activation_bits, profile)
            energy_uj = layer_energy_uj(layer, executed, activation_bits, latency_ms, profile)
            found[activation_bits] = ChoiceCost(
                flash_bytes=flash_bytes, latency_ms=latency_ms, energy_uj=energy_uj
            )
    return found


def _stored(
    layer: LayerSpec, weight_bits: int, runtime: Runtime, entropy_bits: float | None = None
) -> StoredWeights:
    pointwise = runtime.pointwise_as_matrix and layer.is_pointwise
    matrix = layer.kind is LayerKind.LINEAR or pointwise
    return runtime.stored(
        layer.weights, layer.channels, weight_bits, matrix=matrix, entropy_bits=entropy_bits
    )


def _is_no_dearer(wider: Mapping[int, ChoiceCost], narrower: Mapping[int, ChoiceCost]) -> bool:
    """Whether the wider weights cost no more, with every activation width of the narrower."""
    return all(
        bits in wider
        and wider[bits].flash_bytes <= cost.flash_bytes
        and wider[bits].latency_ms <= cost.latency_ms
        and wider[bits].energy_uj <= cost.energy_uj
        for bits, cost in narrower.items()
    )
