"""Quantization without training: one pass through the network, layer by layer.

All calibration samples move through the network together, in float and quantized side by side.
When they reach a layer, its inputs have already passed through the quantized layers before it. So
its weights are first moved to give the float outputs on those inputs, then rounded for them, and
its bias takes up the mean error that is left (Nagel et al. 2019, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch, read_batches, samples_of
from sigmaquant.calibration.batches import in_parts, with_mirror_images
from sigmaquant.calibration.columns import ColumnReader, layer_groups, weight_rows
from sigmaquant.calibration.moments import paired_moments
from sigmaquant.calibration.ranges import group_histograms
from sigmaquant.errors import ConfigError
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.network.operators import CONVOLUTIONS, Role, layer_name
from sigmaquant.network.runner import Values, call
from sigmaquant.progress import progress_bar
from sigmaquant.quantized.network import QuantizedNetwork
from sigmaquant.quantizers import (
    AffineRange,
    best_range,
    fake_quantize,
    fitted_levels,
    least_scales,
    level_bounds,
    nearest_levels,
    realigned_rows,
    starting_scales,
    weight_scales,
)
from sigmaquant.quantizers.ranges import Histogram

_LEAST_PARTS = 4  # of the data, for moments to tell what in them is chance
ROUNDINGS = ("compensated", "nearest", "coded")
"""How weights are rounded: see ``quantize``."""


def quantize(
    network: Network,
    plan: BitPlan,
    calibration: Iterable[Any],
    *,
    rounding: str = "compensated",
    mirrored: bool = False,
) -> QuantizedNetwork:
    """Apply a plan with calibration data alone: no labels, no training.

    Args:
        network: the captured float network.
        plan: widths of its layers and precision groups.
        calibration: a loader of inputs; a few hundred samples.
        rounding: "compensated" spreads each rounding error over the weights still to be rounded;
            "coded" does so with steps for weights that are stored in a code (see
            ``starting_scales``), "nearest" is the plain reference.
        mirrored: whether images mean the same in a mirror: then their mirror images calibrate too,
            which takes twice the time and memory.

    Raises:
        ArtifactError: the plan does not cover the network.
        ConfigError: an unknown rounding, or mirrored samples that are no images.
        DataError: see ``read_batches``.
    """
    return PlanQuantizer(network, calibration, rounding, mirrored)(plan)


def check_rounding(name: str) -> None:
    """Raise ConfigError for the name of no rounding."""
    if name not in ROUNDINGS:
        raise ConfigError(f"unknown rounding {name!r}; known: {', '.join(ROUNDINGS)}")


class PlanQuantizer:
    """Applies one plan after the other to a network; what does not depend on them is done once.

    Args:
        network, calibration, rounding, mirrored: see ``quantize``.

    Raises:
        ConfigError, DataError: see ``quantize``.
    """

    def __init__(
        self,
        network: Network,
        calibration: Iterable[Any],
        rounding: str,
        mirrored: bool = False,
    ) -> None:
        check_rounding(rounding)
        self._network = network
        self._rounding = rounding
        batches = read_batches(calibration, network, what="calibration")
        if mirrored:
            batches = with_mirror_images(batches)
        self._batches = in_parts(batches, network, _LEAST_PARTS)

    @cached_property
    def _histograms(self) -> dict[str, Histogram]:
        return group_histograms(self._network, self._batches)

    def __call__(self, plan: BitPlan) -> QuantizedNetwork:
        """The network under the plan.

        Raises:
            ArtifactError: the plan does not cover the network.
        """
        table = self._network.table
        plan.check_covers(table)
        ranges = {group: self._range(group, plan) for group in table.groups}
        scales = {layer.name: torch.ones(layer.channels) for layer in table.layers}
        quantized = QuantizedNetwork(self._network, plan, ranges, scales)
        self._round(quantized, ranges, scales.keys())
        return quantized

    def revised(self, tuned: QuantizedNetwork, plan: BitPlan) -> QuantizedNetwork:
        """A network that was trained, under another plan; what keeps its width stays as it is.

        Layers of another width are rounded anew from the float network's weights, for the inputs
        that the trained layers give them. Trained weights would not do: they start in the middle
        of their levels and hardly leave it, so that they know no more than their levels.

        Args:
            tuned: the network after training.
            plan: the other plan.

        Raises:
            ArtifactError: the plan does not cover the network.
        """
        plan.check_covers(self._network.table)
        layers, groups = tuned.plan.differing(plan)
        ranges = {
            group: self._range(group, plan)
            if group in groups
            else tuned.activation_quantizer(group).encoding()
            for group in self._network.table.groups
        }
        quantized = tuned.under(plan, ranges)
        self._round(quantized, ranges, layers)
        quantized.raise_scales()
        return quantized

    def round_anew(self, quantized: QuantizedNetwork, layers: Set[str]) -> None:
        """Round some layers of a network again, for the inputs that the others give them by now.

        Args:
            quantized: edited in place.
            layers: which; nothing else reads their weights and biases, which start from the float
                network's.
        """
        calls = self._network.layer_nodes()
        groups = self._network.table.groups
        ranges = {group: quantized.activation_quantizer(group).encoding() for group in groups}
        with torch.no_grad():
            for anew in [call for layer in layers for call in calls[layer]]:
                for parameter in arguments_of(anew)[1:3]:
                    own = tensor_of(quantized.graph_module, parameter)
                    own.copy_(tensor_of(self._network.module, parameter))
        self._round(quantized, ranges, layers)
        quantized.raise_scales()

    def _range(self, group: str, plan: BitPlan) -> AffineRange:
        return best_range(self._histograms[group], plan.activation_bits[group])

    def _round(
        self,
        quantized: QuantizedNetwork,
        ranges: dict[str, AffineRange],
        layers: Set[str],
    ) -> None:
        with torch.no_grad(), progress_bar("rounding", len(layers)) as advance:
            _Passage(quantized, self._batches, ranges, layers, self._rounding, advance).run()


class _Passage:
    """All samples on their way through the network, in float and quantized.

    Args:
        quantized: the weights, scales and biases of its layers are set on the way.
        batches: the calibration data.
        ranges: encodings of the precision groups.
        layers: those that are rounded; the others are as they are to be.
        rounding: see ``quantize``.
        advance: called after each layer.
    """

    def __init__(
        self,
        quantized: QuantizedNetwork,
        batches: Sequence[Batch],
        ranges: dict[str, AffineRange],
        layers: Set[str],
        rounding: str,
        advance: Callable[[], None],
    ) -> None:
        self._quantized = quantized
        self._encodings = quantized.network.encodings
        self._runner = quantized.network.runner()
        self._ranges = ranges
        self._rounding = rounding
        self._advance = advance
        self._samples = samples_of(batches)
        calls = quantized.network.layer_nodes()
        self._rounded = set(calls) - layers
        self._corrected = {_bias_name(call) for layer in self._rounded for call in calls[layer]}
        self._nodes = self._until({call for layer in layers for call in calls[layer]})
        exact, own = self._runner.parameters, quantized.graph_module
        integer = {node: tensor_of(own, node) for node in exact}
        starts = [dict(zip(self._runner.inputs, b.inputs, strict=True)) for b in batches]
        self._float: list[Values] = [{**exact, **start} for start in starts]
        self._integer: list[Values] = [{**integer, **start} for start in starts]

    def run(self) -> None:
        """Move every sample through every node; what is not read again is dropped at once."""
        for node in self._nodes:
            is_layer = self._encodings.roles.get(node) is Role.LAYER
            if is_layer:
                self._round(node)
            for exact, values in zip(self._float, self._integer, strict=True):
                for side in (exact, values):
                    if node.op == "call_function":
                        side[node] = call(node, side)
                    for dead in self._runner.dying[node]:
                        side.pop(dead, None)
                if not is_layer:
                    self._quantize(node, values)
            if is_layer:
                self._correct_bias(node)
                for values in self._integer:
                    self._quantize(node, values)

    def _until(self, calls: Set[Node]) -> Sequence[Node]:
        """The nodes up to the last of some calls: what lies behind it has nothing to be set."""
        nodes = self._runner.nodes
        ends = [end for end, node in enumerate(nodes, start=1) if node in calls]
        return nodes[: max(ends, default=0)]

    def _quantize(self, node: Node, values: Values) -> None:
        if node in self._encodings.sites:
            encoding = self._ranges[self._encodings.groups[node]]
            values[node] = fake_quantize(values[node], encoding)

    def _round(self, node: Node) -> None:
        layer = layer_name(node)
        weight, quantizer = self._quantized.weight(layer), self._quantized.weight_quantizer(layer)
        if layer not in self._rounded:
            levels, scales = self._levels(node, weight, quantizer.bits)
            quantizer.scale.copy_(scales.reshape(quantizer.scale.shape))
            # The trainable weight starts in the middle of its level.
            weight.copy_((levels * scales).reshape(weight.shape))
            self._rounded.add(layer)
            self._advance()
        _, weight_node, bias_node, *_ = arguments_of(node)
        on_grid, bias = quantizer(weight), self._bias(node)
        for values in self._integer:
            values[weight_node], values[bias_node] = on_grid, bias

    def _bias(self, node: Node) -> Tensor:
        return tensor_of(self._quantized.graph_module, arguments_of(node)[2])

    def _levels(self, node: Node, weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        rows = weight_rows(weight, layer_groups(node))
        low, high = level_bounds(bits)
        least = self._least_scales(node).reshape(*rows.shape[:2], 1)
        if self._rounding == "nearest":
            scales = weight_scales(rows, bits).maximum(least)
            return nearest_levels(rows, scales, low, high), scales
        source = arguments_of(node)[0]
        pairs = [(f[source], i[source]) for f, i in zip(self._float, self._integer, strict=True)]
        reader = ColumnReader(node, tuple(weight.shape), self._samples)
        moments = paired_moments(reader, pairs)
        scatter = moments.own.shrunk
        rows = realigned_rows(rows, moments.shrunk, scatter)
        start = starting_scales(rows, bits, scatter, unclipped=self._rounding == "coded")
        return fitted_levels(rows, (low, high), start, scatter, least)

    def _least_scales(self, node: Node) -> Tensor:
        source = self._ranges[self._encodings.groups[arguments_of(node)[0]]]
        return least_scales(self._bias(node), source.scale)

    def _correct_bias(self, node: Node) -> None:
        """Move the bias by the mean error of the layer's output, channel by channel.

        A bias with several readers is corrected for the first.
        """
        name = _bias_name(node)
        if name in self._corrected:
            return
        self._corrected.add(name)
        channel = 1 if node.target in CONVOLUTIONS else -1
        error = torch.zeros(())
        for exact, values in zip(self._float, self._integer, strict=True):
            difference = (exact[node] - values[node]).movedim(channel, 0).flatten(1)
            error = error + difference.mean(1) * (len(values[node]) / self._samples)
        self._bias(node).add_(error)
        shape = [1] * self._float[0][node].dim()
        shape[channel] = -1
        for values in self._integer:
            values[node].add_(error.reshape(shape))


def _bias_name(call: Node) -> str:
    return str(arguments_of(call)[2].target)
