"""Quantization without training: one pass through the network, layer by layer.

All calibration samples move through the network together, in float and quantized side by side.
When they reach a layer, its inputs have already passed through the quantized layers before it. So
its weights are first moved to give the float outputs on those inputs, then rounded for them, and
its bias takes up the mean error that is left (Nagel et al. 2019, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch, read_batches, samples_of
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

ROUNDINGS = ("compensated", "nearest")


def quantize(
    network: Network,
    plan: BitPlan,
    calibration: Iterable[Any],
    *,
    rounding: str = "compensated",
) -> QuantizedNetwork:
    """Apply a plan with calibration data alone: no labels, no training.

    Args:
        network: the captured float network.
        plan: widths of its layers and precision groups.
        calibration: a loader of inputs; a few hundred samples.
        rounding: "compensated" spreads each rounding error over the weights still to be rounded;
            "nearest" is the plain reference.

    Raises:
        ArtifactError: the plan does not cover the network.
        ConfigError: an unknown rounding.
        DataError: see ``read_batches``.
    """
    return PlanQuantizer(network, calibration, rounding)(plan)


def check_rounding(name: str) -> None:
    """Raise ConfigError for the name of no rounding."""
    if name not in ROUNDINGS:
        raise ConfigError(f"unknown rounding {name!r}; known: {', '.join(ROUNDINGS)}")


class PlanQuantizer:
    """Applies one plan after the other to a network; what does not depend on them is done once.

    Args:
        network, calibration, rounding: see ``quantize``.

    Raises:
        ConfigError, DataError: see ``quantize``.
    """

    def __init__(self, network: Network, calibration: Iterable[Any], rounding: str) -> None:
        check_rounding(rounding)
        self._network = network
        self._rounding = rounding
        self._batches = read_batches(calibration, network, what="calibration")

    @cached_property
    def _histograms(self) -> dict[str, Histogram]:
        return group_histograms(self._network, self._batches)

    def __call__(self, plan: BitPlan) -> QuantizedNetwork:
        """The network under the plan.

        Raises:
            ArtifactError: the plan does not cover the network.
        """
        layers = self._network.table.layers
        plan.check_covers(self._network.table)
        ranges = {
            group: best_range(histogram, plan.activation_bits[group])
            for group, histogram in self._histograms.items()
        }
        scales = {layer.name: torch.ones(layer.channels) for layer in layers}
        quantized = QuantizedNetwork(self._network, plan, ranges, scales)
        with torch.no_grad(), progress_bar("rounding", len(layers)) as advance:
            _Passage(quantized, self._batches, ranges, self._rounding, advance).run()
        return quantized


class _Passage:
    """All samples on their way through the network, in float and quantized.

    Args:
        quantized: its weights, scales and biases are set on the way.
        batches: the calibration data.
        ranges: encodings of the precision groups.
        rounding: see ``quantize``.
        advance: called after each layer.
    """

    def __init__(
        self,
        quantized: QuantizedNetwork,
        batches: Sequence[Batch],
        ranges: dict[str, AffineRange],
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
        self._rounded: set[str] = set()
        self._corrected: set[str] = set()
        starts = [dict(zip(self._runner.inputs, b.inputs, strict=True)) for b in batches]
        self._float: list[Values] = [{**self._runner.parameters, **start} for start in starts]
        self._integer: list[Values] = [{**self._runner.parameters, **start} for start in starts]

    def run(self) -> None:
        """Move every sample through every node; what is not read again is dropped at once."""
        for node in self._runner.nodes:
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

    def _quantize(self, node: Node, values: Values) -> None:
        if node in self._encodings.sites:
            encoding = self._ranges[self._encodings.groups[node]]
            values[node] = fake_quantize(values[node], encoding)

    def _round(self, node: Node) -> None:
        layer = layer_name(node)
        weight = self._quantized.weight(layer)
        if layer not in self._rounded:
            quantizer = self._quantized.weight_quantizer(layer)
            levels, scales = self._levels(node, weight, quantizer.bits)
            quantizer.scale.copy_(scales.reshape(quantizer.scale.shape))
            # The trainable weight starts in the middle of its level.
            weight.copy_((levels * scales).reshape(weight.shape))
            self._rounded.add(layer)
            self._advance()
        _, weight_node, bias_node, *_ = arguments_of(node)
        for values in self._integer:
            values[weight_node], values[bias_node] = weight, self._bias(node)

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
        start = starting_scales(rows, bits, scatter)
        return fitted_levels(rows, (low, high), start, scatter, least)

    def _least_scales(self, node: Node) -> Tensor:
        source = self._ranges[self._encodings.groups[arguments_of(node)[0]]]
        return least_scales(self._bias(node), source.scale)

    def _correct_bias(self, node: Node) -> None:
        """Move the bias by the mean error of the layer's output, channel by channel.

        A bias with several readers is corrected for the first.
        """
        name = str(arguments_of(node)[2].target)
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
