"""Every layer's weights at every width, rounded as they will ship."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch
from sigmaquant.calibration.moments import InputMoments, input_moments, layer_groups, weight_rows
from sigmaquant.layers import WIDTHS
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.quantizers import (
    fitted_levels,
    level_bounds,
    nearest_levels,
    starting_scales,
    weight_scales,
)


@dataclass(frozen=True)
class Candidate:
    """A layer at one width.

    Attributes:
        weight: its real values after rounding, in the weight's shape.
        bias_shift: (out,): what the bias takes up of the mean error.
    """

    weight: Tensor
    bias_shift: Tensor


Candidates = dict[str, dict[int, Candidate]]
"""By layer and width."""


def weight_candidates(network: Network, batches: Sequence[Batch], rounding: str) -> Candidates:
    """Round every layer at every width.

    Args:
        network: the float network.
        batches: inputs, for the moments of every layer's inputs.
        rounding: "compensated" or "nearest".
    """
    moments = layer_moments(network, batches)
    with torch.no_grad():
        return {
            layer: _rounded(layer_weight(network, calls[0]), calls[0], moments[layer], rounding)
            for layer, calls in network.layer_nodes().items()
        }


def layer_weight(network: Network, node: Node) -> Tensor:
    """The float weight behind a layer's call."""
    return tensor_of(network.module, arguments_of(node)[1])


def layer_moments(network: Network, batches: Sequence[Batch]) -> dict[str, InputMoments]:
    """Moments of every layer's inputs in the float network, in one streaming pass."""
    layers = {node: layer for layer, nodes in network.layer_nodes().items() for node in nodes}
    readers: dict[Node, list[Node]] = {}
    for node in layers:
        readers.setdefault(arguments_of(node)[0], []).append(node)
    found: dict[str, InputMoments] = {}

    def collect(source: Node, value: Tensor) -> Tensor:
        for node in readers.get(source, ()):
            more = input_moments(node, tuple(layer_weight(network, node).shape[2:]), value)
            layer = layers[node]
            found[layer] = found[layer] + more if layer in found else more
        return value

    runner = network.runner()
    with torch.no_grad():
        for batch in batches:
            runner.watch(batch.inputs, collect)
    return found


def _rounded(
    weight: Tensor, node: Node, moments: InputMoments, rounding: str
) -> dict[int, Candidate]:
    """All widths in one go: one factor of the moments serves the rows of every width."""
    rows = weight_rows(weight, layer_groups(node))
    bounds = torch.tensor([level_bounds(bits) for bits in WIDTHS], dtype=rows.dtype)
    low, high = bounds.repeat_interleave(rows.shape[1], dim=0)[None, :, :, None].unbind(2)
    stacked = rows.repeat(1, len(WIDTHS), 1)
    if rounding == "compensated":
        starts = [starting_scales(rows, bits, moments.products) for bits in WIDTHS]
        levels, scales = fitted_levels(stacked, (low, high), torch.cat(starts, 1), moments.products)
    else:
        scales = torch.cat([weight_scales(rows, bits) for bits in WIDTHS], dim=1)
        levels = nearest_levels(stacked, scales, low, high)
    real = levels * scales
    shifts = ((stacked - real) @ moments.means[..., None])[..., 0]
    return {
        bits: Candidate(part.reshape(weight.shape), shift.flatten())
        for bits, part, shift in zip(
            WIDTHS, real.chunk(len(WIDTHS), 1), shifts.chunk(len(WIDTHS), 1), strict=True
        )
    }
