"""Cycles of a layer by the latency model "cycles": the best of the kernels that fit."""

from __future__ import annotations

from dataclasses import dataclass

from sigmaquant.costs.flash import packed_weight_bytes
from sigmaquant.costs.traffic import layer_uses
from sigmaquant.devices.latency_models import CyclesModel
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerKind, LayerSpec

_UNPACKED_BITS = 8


@dataclass(frozen=True)
class KernelWork:
    """What a kernel does for one layer and one sample: what ``KernelCycles`` has figures for.

    Attributes:
        macs: with each dot product filled up to whole blocks.
        block_macs: those in whole blocks.
        tail_macs: those behind them.
        patch_elements: input values gathered for dot products.
        patch_rows: rows of the windows that they are gathered from.
        outputs: output values.
        float_outputs: those that stay float32.
        weights: weights read, over all uses.
        uses: calls.
    """

    macs: float
    block_macs: float
    tail_macs: float
    patch_elements: float
    patch_rows: float
    outputs: float
    float_outputs: float
    weights: float
    uses: float

    @property
    def requantized_outputs(self) -> float:
        """Output values that become integers."""
        return self.outputs - self.float_outputs


def kernel_work(layer: LayerSpec, dot_product_block: int = 1) -> KernelWork:
    """The work of one layer.

    Outputs follow from the MACs, which cover every place a shared layer is used; what is paid for
    each use scales with them.
    """
    length, outputs = layer.kernel_elements, layer.executed_macs / layer.kernel_elements
    tail, uses = length % dot_product_block, layer_uses(layer)
    places = outputs / layer.channels
    return KernelWork(
        macs=outputs * -(-length // dot_product_block) * dot_product_block,
        block_macs=outputs * (length - tail),
        tail_macs=outputs * tail,
        patch_elements=places * length * layer.groups,
        patch_rows=places * _window_rows(layer),
        outputs=outputs,
        float_outputs=outputs if layer.output_group is None else 0.0,
        weights=uses * layer.weights,
        uses=uses,
    )


def _window_rows(layer: LayerSpec) -> int:
    """Rows of the kernel's window, for each group that is gathered by itself.

    A sequence is an image of one row, and what a linear layer reads one value of it. A depthwise
    convolution takes all channels of a place together.
    """
    window = layer.weight_shape[2:]
    groups = layer.groups if layer.kind is LayerKind.CONV else 1
    return groups * (window[0] if len(window) > 1 else 1)


def layer_cycles(
    layer: LayerSpec,
    weight_bits: int,
    activation_bits: int,
    model: CyclesModel,
    profile: DeviceProfile,
) -> float:
    """Cycles of one layer for one sample, by the faster of the kernels that can run it."""
    stored_bytes = packed_weight_bytes(layer, weight_bits, profile.weight_storage)
    kernels = [_packed_cycles(layer, weight_bits, activation_bits, model)]
    if layer.weights <= profile.reserve.weight_scratch_bytes:
        kernels += _unpack_first_cycles(layer, weight_bits, activation_bits, model)
    return min(kernels) + layer_uses(layer) * stored_bytes * model.weight_fetch.cycles_per_byte


def _packed_cycles(
    layer: LayerSpec, weight_bits: int, activation_bits: int, model: CyclesModel
) -> float:
    """The sum described at ``KernelCycles``."""
    kernel = model.kernels[layer.kind]
    work = kernel_work(layer, kernel.dot_product_block)
    tail = kernel.cycles_per_tail_mac
    return (
        (work.block_macs if tail else work.macs)
        * kernel.macs_at(activation_bits).cycles_per_mac[weight_bits]
        + work.tail_macs * tail.get(weight_bits, 0.0)
        + work.patch_elements * kernel.cycles_per_patch_element
        + work.patch_rows * kernel.cycles_per_patch_row
        + kernel.output_cycles(work.outputs, is_float=layer.output_group is None)
        + work.weights * kernel.cycles_per_weight.get(weight_bits, 0.0)
        + work.uses * kernel.cycles_per_layer
    )


def _unpack_first_cycles(
    layer: LayerSpec, weight_bits: int, activation_bits: int, model: CyclesModel
) -> list[float]:
    """One figure where the device has such a kernel for this width, else none."""
    kernel = model.kernels[layer.kind]
    unpacking = kernel.unpack_first
    runs_8_bits = _UNPACKED_BITS in kernel.macs_at(activation_bits).cycles_per_mac
    if unpacking is None or weight_bits not in unpacking.cycles_per_weight or not runs_8_bits:
        return []
    expanded = layer_uses(layer) * layer.weights * unpacking.cycles_per_weight[weight_bits]
    return [_packed_cycles(layer, _UNPACKED_BITS, activation_bits, model) + expanded]
