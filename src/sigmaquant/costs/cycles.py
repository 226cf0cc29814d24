"""Cycles of a layer by the latency model "cycles": the best of the kernels that fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sigmaquant.costs.flash import packed_weight_bytes
from sigmaquant.costs.traffic import layer_uses
from sigmaquant.devices.latency_models import CyclesModel
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerKind, LayerSpec

USUAL_WINDOW = (3, 3)
"""Of depthwise convolutions: kernels may have a figure of their own for the others."""

_UNPACKED_BITS = 8
_PAIR = 2  # filters that kernels with a way for an odd one compute at once
_FOUR = 4  # values, or weights of 8 bits, in a word


@dataclass(frozen=True)
class KernelWork:
    """What a kernel does for one layer and one sample: what ``KernelCycles`` has figures for.

    Attributes:
        macs: with each dot product filled up to whole blocks.
        block_macs: those in whole blocks.
        tail_macs: those behind them, filled up to whole blocks of their own.
        odd_row_macs: those of a last filter without another beside it; the others leave them out.
        other_window_macs: those of a window that is not the tile's; the others leave them out.
        patch_elements: input values gathered for dot products.
        patch_rows: rows of the windows that they are gathered from.
        unaligned_rows: those of them with values that are no whole fours.
        outputs: output values.
        float_outputs: those that stay float32.
        weights: weights read, over all uses.
        uses: calls.
    """

    macs: float
    block_macs: float
    tail_macs: float
    odd_row_macs: float
    other_window_macs: float
    patch_elements: float
    patch_rows: float
    unaligned_rows: float
    outputs: float
    float_outputs: float
    weights: float
    uses: float

    @property
    def requantized_outputs(self) -> float:
        """Output values that become integers."""
        return self.outputs - self.float_outputs


@dataclass(frozen=True)
class Tile:
    """What a kernel computes at once: it takes as long for a part of it.

    Attributes:
        block: length of the pieces of a dot product.
        tail_block: of those behind the last whole one.
        places: output places, where there are as many.
        rows: filters of a group; a last one by itself has a way of its own.
        window: height and width of the kernels that it is made for; None: of all.
    """

    block: int = 1
    tail_block: int = 1
    places: int = 1
    rows: int = 1
    window: tuple[int, ...] | None = None


def kernel_work(layer: LayerSpec, tile: Tile = Tile()) -> KernelWork:
    """The work of one layer.

    Outputs follow from the MACs, which cover every place a shared layer is used; what is paid for
    each use scales with them.
    """
    length, outputs = layer.kernel_elements, layer.executed_macs / layer.kernel_elements
    tail, uses = length % tile.block, layer_uses(layer)
    places = outputs / layer.channels
    odd_rows = layer.groups * (layer.channels // layer.groups % tile.rows)
    computed = uses * _whole_places(layer, tile)
    other = tile.window is not None and layer.weight_shape[2:] != tile.window
    dots = 0.0 if other else computed * (layer.channels - odd_rows)
    return KernelWork(
        macs=dots * _filled(length, tile.block),
        block_macs=dots * (length - tail),
        tail_macs=dots * _filled(tail, tile.tail_block),
        odd_row_macs=computed * odd_rows * length,
        other_window_macs=computed * layer.channels * length if other else 0.0,
        patch_elements=places * length * layer.groups,
        patch_rows=places * _window_rows(layer),
        unaligned_rows=places * _window_rows(layer) if _row_values(layer) % _FOUR else 0.0,
        outputs=outputs,
        float_outputs=outputs if layer.output_group is None else 0.0,
        weights=uses * layer.weights,
        uses=uses,
    )


def _filled(length: int, block: int) -> int:
    """In whole blocks."""
    return -(-length // block) * block


def _whole_places(layer: LayerSpec, tile: Tile) -> float:
    """Output places of one use for which dot products are computed."""
    places = layer.outputs / layer.channels
    if tile.places == 1 or places < tile.places:
        return places
    return math.ceil(places / tile.places) * tile.places


def _row_values(layer: LayerSpec) -> int:
    """Input values of one row of the kernel's window that lie side by side."""
    channels = layer.weight_shape[1]
    return channels * layer.weight_shape[-1] if layer.weight_shape[2:] else channels


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
    if unpacked_bytes(layer) <= profile.reserve.weight_scratch_bytes:
        kernels += _unpack_first_cycles(layer, weight_bits, activation_bits, model)
    return min(kernels) + layer_uses(layer) * stored_bytes * model.weight_fetch.cycles_per_byte


def unpacked_bytes(layer: LayerSpec) -> int:
    """Scratch for the weights of one group as bytes, each filter in whole words."""
    return layer.channels // layer.groups * _filled(layer.kernel_elements, _FOUR)


def _packed_cycles(
    layer: LayerSpec, weight_bits: int, activation_bits: int, model: CyclesModel
) -> float:
    """The sum described at ``KernelCycles``."""
    kernel = model.kernels[layer.kind]
    tail = kernel.cycles_per_tail_mac
    tile = Tile(
        block=kernel.dot_product_block,
        tail_block=kernel.tail_block.get(weight_bits, 1),
        places=kernel.places_at_once,
        rows=_PAIR if kernel.cycles_per_odd_row_mac else 1,
        window=None if kernel.cycles_per_other_window_mac is None else USUAL_WINDOW,
    )
    work = kernel_work(layer, tile)
    return (
        (work.block_macs if tail else work.macs)
        * kernel.macs_at(activation_bits).cycles_per_mac[weight_bits]
        + work.tail_macs * tail.get(weight_bits, 0.0)
        + work.odd_row_macs * kernel.cycles_per_odd_row_mac.get(weight_bits, 0.0)
        + work.other_window_macs * (kernel.cycles_per_other_window_mac or 0.0)
        + work.patch_elements * kernel.cycles_per_patch_element
        + work.patch_rows * kernel.cycles_per_patch_row
        + work.unaligned_rows * kernel.cycles_per_unaligned_row
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
