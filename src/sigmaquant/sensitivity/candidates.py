"""What is scored: every weight at every width, rounded as it will ship; and activations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch, samples_of
from sigmaquant.calibration.columns import ColumnReader, layer_groups, weight_rows
from sigmaquant.calibration.moments import InputMoments, input_moments
from sigmaquant.calibration.ranges import group_histograms
from sigmaquant.layers import WIDTHS
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.quantizers import (
    ROUNDING_TURNS,
    AffineRange,
    best_range,
    fitted_levels,
    level_bounds,
    nearest_levels,
    starting_scales,
    weight_scales,
)
from sigmaquant.ranks import SINGLE, Ranks, on_each

_BUNCH_ELEMENTS = 2**20  # weights rounded together; at all widths 28 MiB a temporary


@dataclass(frozen=True)
class Candidate:
    """A layer at one width.

    Attributes:
        weight: its real values after rounding, in the weight's shape.
        bias_shift: (out,): what the bias takes up of the mean error.
    """

    weight: Tensor
    bias_shift: Tensor


WeightCandidates = dict[str, dict[int, Candidate]]
"""By layer and width."""


@dataclass(frozen=True)
class Candidates:
    """All that is scored.

    Attributes:
        weights: by layer and width.
        encodings: by precision group and activation width.
    """

    weights: WeightCandidates
    encodings: Mapping[str, Mapping[int, AffineRange]]


def activation_candidates(
    network: Network, batches: Sequence[Batch], widths: Sequence[int], ranks: Ranks = SINGLE
) -> dict[str, dict[int, AffineRange]]:
    """The minimum-error encoding of every precision group at each width."""
    if not widths:
        return {}
    histograms = group_histograms(network, batches, ranks)
    return {
        group: {bits: best_range(histogram, bits) for bits in widths}
        for group, histogram in histograms.items()
    }


def weight_candidates(
    network: Network, batches: Sequence[Batch], rounding: str, ranks: Ranks = SINGLE
) -> WeightCandidates:
    """Round every layer at every width.

    Each rank rounds its share of the layers, for moments of all batches that it takes itself. So
    all integers are the same to the bit, however many ranks there are, and no moments are sent,
    which can be larger than the network; only the forward pass that shows the layers their inputs
    is repeated on each rank.

    Args:
        network: the float network.
        batches: inputs, for the moments of every layer's inputs.
        rounding: "compensated" or "nearest".
        ranks: share the work.
    """
    shares = shared_out(network, samples_of(batches), ranks.count)
    own = shares[ranks.index]
    found = on_each(ranks, lambda: _rounded_layers(network, batches, rounding, own))
    return found if ranks.count == 1 else _exchanged(network, found, ranks)


def shared_out(network: Network, samples: int, count: int) -> list[list[str]]:
    """Layers for each of ``count`` ranks, by their work: the largest first, to who has least."""
    work = {
        layer: _work(calls[0], layer_weight(network, calls[0]), samples)
        for layer, calls in network.layer_nodes().items()
    }
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for layer in sorted(work, key=lambda layer: -work[layer]):
        least = loads.index(min(loads))
        shares[least].append(layer)
        loads[least] += work[layer]
    return [[layer for layer in work if layer in share] for share in shares]


def _work(call: Node, weight: Tensor, samples: int) -> float:
    """Multiplications, about: for each pair of a group's inputs one a column, turn and weight."""
    groups, shape = layer_groups(call), tuple(weight.shape)
    columns = ColumnReader(call, shape, samples).columns
    pairs = (weight.numel() // len(weight)) ** 2
    return float(pairs * (groups * columns + ROUNDING_TURNS * len(WIDTHS) * len(weight)))


def _exchanged(network: Network, own: WeightCandidates, ranks: Ranks) -> WeightCandidates:
    """The candidates of all layers from the ranks that made them: others add zeros."""
    found: WeightCandidates = {}
    for layer, calls in network.layer_nodes().items():
        weight = layer_weight(network, calls[0]).detach()
        made = own.get(layer)
        if made is None:
            parts = [weight.new_zeros(len(WIDTHS), *weight.shape)]
            parts.append(weight.new_zeros(len(WIDTHS), len(weight)))
        else:
            parts = [torch.stack([c.weight for c in made.values()])]
            parts.append(torch.stack([c.bias_shift for c in made.values()]))
        pairs = zip(*ranks.total(parts), strict=True)
        found[layer] = dict(zip(WIDTHS, itertools.starmap(Candidate, pairs), strict=True))
    return found


def _rounded_layers(
    network: Network, batches: Sequence[Batch], rounding: str, layers: Sequence[str]
) -> WeightCandidates:
    """Candidates of some layers, in the order given."""
    moments = layer_moments(network, batches, layers)
    calls = {layer: network.layer_nodes()[layer][0] for layer in layers}
    weights = {layer: layer_weight(network, call).detach() for layer, call in calls.items()}
    rows = {layer: weight_rows(w, layer_groups(calls[layer])) for layer, w in weights.items()}
    found: WeightCandidates = {}
    for bunch in _bunches(rows):
        together = _rounded(
            torch.cat([rows[layer] for layer in bunch]),
            torch.cat([moments[layer].shrunk for layer in bunch]),
            torch.cat([moments[layer].means for layer in bunch]),
            rounding,
        )
        starts = [0, *itertools.accumulate(len(rows[layer]) for layer in bunch)]
        for layer, start, end in zip(bunch, starts, starts[1:], strict=False):
            found[layer] = {
                bits: Candidate(
                    real[start:end].reshape(weights[layer].shape), shift[start:end].flatten()
                )
                for bits, (real, shift) in together.items()
            }
    return {layer: found[layer] for layer in weights}


def _bunches(rows: Mapping[str, Tensor]) -> list[list[str]]:
    """Layers of one shape, to be rounded together: one loop over their columns serves all."""
    open_bunches: dict[tuple[int, ...], list[str]] = {}
    bunches: list[list[str]] = []
    for layer, part in rows.items():
        shape = (part.shape[1], part.shape[2])
        bunch = open_bunches.get(shape)
        if bunch is None or sum(rows[n].numel() for n in [*bunch, layer]) > _BUNCH_ELEMENTS:
            bunch = open_bunches[shape] = []
            bunches.append(bunch)
        bunch.append(layer)
    return bunches


def layer_weight(network: Network, node: Node) -> Tensor:
    """The float weight behind a layer's call."""
    return tensor_of(network.module, arguments_of(node)[1])


def layer_moments(
    network: Network, batches: Sequence[Batch], layers: Sequence[str]
) -> dict[str, InputMoments]:
    """Moments of some layers' inputs in the float network, in one streaming pass."""
    calls: dict[Node, list[tuple[str, ColumnReader]]] = {}
    for layer in layers:
        for node in network.layer_nodes()[layer]:
            shape = tuple(layer_weight(network, node).shape)
            reader = ColumnReader(node, shape, samples_of(batches))
            calls.setdefault(arguments_of(node)[0], []).append((layer, reader))
    found: dict[str, InputMoments] = {}

    def collect(source: Node, value: Tensor) -> Tensor:
        for layer, reader in calls.get(source, ()):
            more = input_moments(reader, value)
            found[layer] = found[layer] + more if layer in found else more
        return value

    runner = network.runner()
    with torch.no_grad():
        for batch in batches:
            runner.watch(batch.inputs, collect)
    return found


def _rounded(
    rows: Tensor, scatter: Tensor, means: Tensor, rounding: str
) -> dict[int, tuple[Tensor, Tensor]]:
    """All widths in one go: one factor of the moments serves the rows of every width.

    Args:
        rows: (groups, out, k).
        scatter: (groups, k, k).
        means: (groups, k).
        rounding: see ``weight_candidates``.

    Returns:
        By width, real values (groups, out, k) and what the bias takes up (groups, out).
    """
    bounds = torch.tensor([level_bounds(bits) for bits in WIDTHS], dtype=rows.dtype)
    low, high = bounds.repeat_interleave(rows.shape[1], dim=0)[None, :, :, None].unbind(2)
    stacked = rows.repeat(1, len(WIDTHS), 1)
    if rounding == "compensated":
        starts = [starting_scales(rows, bits, scatter) for bits in WIDTHS]
        levels, scales = fitted_levels(stacked, (low, high), torch.cat(starts, 1), scatter)
    else:
        scales = torch.cat([weight_scales(rows, bits) for bits in WIDTHS], dim=1)
        levels = nearest_levels(stacked, scales, low, high)
    real = levels * scales
    shifts = ((stacked - real) @ means[..., None])[..., 0]
    parts = zip(real.chunk(len(WIDTHS), 1), shifts.chunk(len(WIDTHS), 1), strict=True)
    return dict(zip(WIDTHS, parts, strict=True))
