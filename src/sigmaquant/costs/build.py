"""From a network's layers and a device's profile to the table that solvers choose from."""

from __future__ import annotations

from collections.abc import Mapping

from sigmaquant.costs.deployment import (
    deployed_choices,
    expanded_weight_bytes,
    file_overhead_bytes,
)
from sigmaquant.costs.energy import layer_energy_uj, powered_energy_uj, step_energy_uj
from sigmaquant.costs.flash import float_parameter_bytes, layer_flash_bytes
from sigmaquant.costs.latency import layer_latency_ms, start_latency_ms, step_latency_ms
from sigmaquant.costs.marks import cost_marks
from sigmaquant.costs.ram import handled_elements, ram_steps
from sigmaquant.costs.table import ChoiceCost, CostTable
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.devices.runtime import Runtime
from sigmaquant.errors import ConfigError, DeviceError
from sigmaquant.layers import LayerSpec, LayerTable
from sigmaquant.scores import SensitivityTable


def cost_table(
    table: LayerTable, profile: DeviceProfile, scores: SensitivityTable | None = None
) -> CostTable:
    """Cost of every choice that the device can store and run, for every layer.

    Args:
        table: of the network's layers.
        profile: of the device.
        scores: of the network; with them a runtime that holds weights in code is counted with the
            code that each layer's own weights take, without them with that of typical ones.

    Raises:
        DeviceError: the device has no kernel for a layer's kind.
        ConfigError: the layers were scored in another rounding than the runtime's code is for.
    """
    entropy_bits = {} if scores is None else _entropy_bits(scores, profile.runtime)
    return CostTable(
        device=profile.name,
        choices={
            layer.name: _layer_choices(layer, profile, entropy_bits.get(layer.name, {}))
            for layer in table.layers
        },
        fixed=_fixed_cost(table, profile),
        ram_steps=ram_steps(table),
        ram_reserve_bytes=profile.reserve.ram_bytes,
        activation_storage_bits=_activation_storage(profile),
        expanded_bytes=_expanded_bytes(table, profile),
        input_groups={layer.name: layer.input_groups for layer in table.layers},
        marks=cost_marks(table, profile),
    )


def _entropy_bits(
    scores: SensitivityTable, runtime: Runtime | None
) -> Mapping[str, Mapping[int, float]]:
    """Of a weight, by layer and width, where it matters and is known."""
    if runtime is None or runtime.code is None or not scores.entropy_bits:
        return {}
    if scores.rounding != runtime.code.rounding:
        raise ConfigError(
            f"{runtime.name} counts on weights in rounding {runtime.code.rounding!r}, and the "
            f"layers were scored in {scores.rounding!r}: score, search and quantize with "
            f"--rounding {runtime.code.rounding}"
        )
    return scores.entropy_bits


def _activation_storage(profile: DeviceProfile) -> dict[int, int]:
    """Bits in RAM of the widths that run."""
    stored, runtime = profile.activation_storage.bits, profile.runtime
    if runtime is None or runtime.activation_bits is None:
        return dict(stored)
    return {width: bits for width, bits in stored.items() if width in runtime.activation_bits}


def _expanded_bytes(table: LayerTable, profile: DeviceProfile) -> dict[str, dict[int, int]]:
    """By layer and width; layers that are never expanded are left out."""
    if profile.runtime is None:
        return {}
    found = {layer.name: expanded_weight_bytes(layer, profile.runtime) for layer in table.layers}
    return {name: by_width for name, by_width in found.items() if by_width}


def _layer_choices(
    layer: LayerSpec, profile: DeviceProfile, entropy_bits: Mapping[int, float]
) -> dict[int, dict[int, ChoiceCost]]:
    if layer.kind not in profile.supports:
        raise DeviceError(
            f"{profile.name} has no kernel for layer {layer.name!r} ({layer.kind}); "
            f"it runs {', '.join(profile.supports)}"
        )
    if profile.runtime is not None:
        return deployed_choices(layer, profile, profile.runtime, entropy_bits)
    return {
        weight_bits: {bits: _choice(layer, weight_bits, bits, profile) for bits in activation_bits}
        for weight_bits, activation_bits in profile.supports[layer.kind].items()
    }


def _choice(
    layer: LayerSpec, weight_bits: int, activation_bits: int, profile: DeviceProfile
) -> ChoiceCost:
    latency_ms = layer_latency_ms(layer, weight_bits, activation_bits, profile)
    return ChoiceCost(
        flash_bytes=layer_flash_bytes(layer, weight_bits, profile.weight_storage),
        latency_ms=latency_ms,
        energy_uj=layer_energy_uj(layer, weight_bits, activation_bits, latency_ms, profile),
    )


def _fixed_cost(table: LayerTable, profile: DeviceProfile) -> ChoiceCost:
    """Everything outside the layers with weights."""
    latency_ms = start_latency_ms(profile)
    energy_uj = powered_energy_uj(latency_ms, profile)
    for step, elements in zip(table.steps, handled_elements(table), strict=True):
        if step.layer is None:
            step_ms = step_latency_ms(step, elements, profile)
            latency_ms += step_ms
            energy_uj += step_energy_uj(step, elements, step_ms, profile)
    flash_bytes = float_parameter_bytes(table)
    if profile.runtime is not None:
        flash_bytes += file_overhead_bytes(table, profile.runtime)
    return ChoiceCost(flash_bytes=flash_bytes, latency_ms=latency_ms, energy_uj=energy_uj)
