"""What is scored: every weight at every width, rounded as it will ship; and activations.

Error compensation fits a layer's integers to the inputs that it was shown. Where these are few
beside the layer's elements, as a classifier's one column an image, the fit is partly to chance, and
on the same samples the error looks many times smaller than on others: MobileNetV2's classifier of
1,280 inputs at 2 bits lost 0.02 nats on the 300 images it was rounded with and 0.22 on others. Such
layers are rounded several times, each time without one fold of the samples, and scored on that fold
(cross-validation, Stone 1974).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
_SCARCE_COLUMNS = 8  # an element of the layer; those with fewer are cross-fitted
# At all widths 4 folds of a layer take 900 MiB. Larger ones are scored on what they were fitted to.
_LARGEST_CROSS_FITTED = 2**23


@dataclass(frozen=True)
class Candidate:
    """A layer at one width.

    Attributes:
        weight: its real values after rounding, in the weight's shape.
        bias_shift: (out,): what the bias takes up of the mean error.
        entropy_bits: (): of one of its integers, what it takes in an ideal code (Shannon 1948).
    """

    weight: Tensor
    bias_shift: Tensor
    entropy_bits: Tensor


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


class _Version(NamedTuple):
    """A layer as it is rounded once.

    Attributes:
        layer: its name.
        left_out: the fold whose batches it does not see; None if it sees all.
    """

    layer: str
    left_out: int | None


_Found = dict[_Version, dict[int, Candidate]]


def weight_candidates(
    network: Network,
    batches: Sequence[Batch],
    rounding: str,
    folds: int = 1,
    ranks: Ranks = SINGLE,
) -> tuple[WeightCandidates, ...]:
    """Round every layer at every width, for each fold of the batches to be scored on.

    Batch i is in fold i modulo ``folds``. Layers with many inputs are the same in all folds, the
    others have not seen the batches of the fold.

    Each rank rounds its share of the layers, for moments of all batches that it takes itself. So
    all integers are the same to the bit, however many ranks there are, and no moments are sent,
    which can be larger than the network; only the forward pass that shows the layers their inputs
    is repeated on each rank.

    Args:
        network: the float network.
        batches: inputs, for the moments of every layer's inputs.
        rounding: one of ``ROUNDINGS``.
        folds: at most as many as batches; 1 scores on what the rounding saw.
        ranks: share the work.
    """
    samples = samples_of(batches)
    versions = {layer: _versions(network, layer, samples, folds) for layer in network.layer_nodes()}
    shares = shared_out(network, samples, ranks.count, folds)
    own = [version for layer in shares[ranks.index] for version in versions[layer]]
    found = on_each(ranks, lambda: _rounded_versions(network, batches, rounding, own, folds))
    if ranks.count > 1:
        found = _exchanged(network, itertools.chain(*versions.values()), found, ranks)
    return tuple(
        {layer: found[own[fold % len(own)]] for layer, own in versions.items()}
        for fold in range(folds)
    )


def _versions(network: Network, layer: str, samples: int, folds: int) -> list[_Version]:
    """One for each fold, or a single one for all."""
    call = network.layer_nodes()[layer][0]
    weight = layer_weight(network, call)
    elements = weight.numel() // len(weight)
    columns = ColumnReader(call, tuple(weight.shape), samples).columns
    scarce = columns < _SCARCE_COLUMNS * elements and weight.numel() <= _LARGEST_CROSS_FITTED
    if folds > 1 and scarce:
        return [_Version(layer, fold) for fold in range(folds)]
    return [_Version(layer, None)]


def shared_out(network: Network, samples: int, count: int, folds: int = 1) -> list[list[str]]:
    """Layers for each of ``count`` ranks, by their work: the largest first, to who has least."""
    work = {
        layer: _work(calls[0], layer_weight(network, calls[0]), samples)
        * len(_versions(network, layer, samples, folds))
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


def _exchanged(network: Network, versions: Iterable[_Version], own: _Found, ranks: Ranks) -> _Found:
    """The candidates of all versions from the ranks that made them: others add zeros."""
    found: _Found = {}
    for version in versions:
        weight = layer_weight(network, network.layer_nodes()[version.layer][0]).detach()
        made = own.get(version)
        if made is None:
            parts = [weight.new_zeros(len(WIDTHS), *weight.shape)]
            parts.append(weight.new_zeros(len(WIDTHS), len(weight)))
            parts.append(weight.new_zeros(len(WIDTHS)))
        else:
            parts = [torch.stack([c.weight for c in made.values()])]
            parts.append(torch.stack([c.bias_shift for c in made.values()]))
            parts.append(torch.stack([c.entropy_bits for c in made.values()]))
        pairs = zip(*ranks.total(parts), strict=True)
        found[version] = dict(zip(WIDTHS, itertools.starmap(_candidate, pairs), strict=True))
    return found


def _rounded_versions(
    network: Network,
    batches: Sequence[Batch],
    rounding: str,
    versions: Sequence[_Version],
    folds: int,
) -> _Found:
    moments = _version_moments(network, batches, versions, folds)
    calls = {layer: network.layer_nodes()[layer][0] for layer, _ in versions}
    weights = {layer: layer_weight(network, call).detach() for layer, call in calls.items()}
    rows = {v: weight_rows(weights[v.layer], layer_groups(calls[v.layer])) for v in versions}
    found: _Found = {}
    for bunch in _bunches(rows):
        together = _rounded(
            torch.cat([rows[version] for version in bunch]),
            torch.cat([moments[version].shrunk for version in bunch]),
            torch.cat([moments[version].means for version in bunch]),
            rounding,
        )
        starts = [0, *itertools.accumulate(len(rows[version]) for version in bunch)]
        for version, start, end in zip(bunch, starts, starts[1:], strict=False):
            shape = weights[version.layer].shape
            found[version] = {
                bits: _candidate(
                    (levels * scales)[start:end].reshape(shape),
                    shift[start:end].flatten(),
                    _entropy_bits(levels[start:end]),
                )
                for bits, (levels, scales, shift) in together.items()
            }
    return found


def _entropy_bits(levels: Tensor) -> Tensor:
    _, counts = levels.unique(return_counts=True)
    nats: Tensor = torch.special.entr(counts / levels.numel()).sum()
    return nats / math.log(2)


def _candidate(weight: Tensor, bias_shift: Tensor, entropy_bits: Tensor) -> Candidate:
    """In memory of its own, whether made here or sent by another rank.

    The last bits of a product depend on strides and, on some processors, on alignment.
    """
    return Candidate(
        *(
            part.clone(memory_format=torch.contiguous_format)
            for part in (weight, bias_shift, entropy_bits)
        )
    )


def _bunches(rows: Mapping[_Version, Tensor]) -> list[list[_Version]]:
    """Layers of one shape, to be rounded together: one loop over their columns serves all."""
    open_bunches: dict[tuple[int, ...], list[_Version]] = {}
    bunches: list[list[_Version]] = []
    for version, part in rows.items():
        shape = (part.shape[1], part.shape[2])
        bunch = open_bunches.get(shape)
        if bunch is None or sum(rows[v].numel() for v in [*bunch, version]) > _BUNCH_ELEMENTS:
            bunch = open_bunches[shape] = []
            bunches.append(bunch)
        bunch.append(version)
    return bunches


def layer_weight(network: Network, node: Node) -> Tensor:
    """The float weight behind a layer's call."""
    return tensor_of(network.module, arguments_of(node)[1])


def _version_moments(
    network: Network, batches: Sequence[Batch], versions: Sequence[_Version], folds: int
) -> dict[_Version, InputMoments]:
    """Moments of what each version sees of its layer's inputs, in one streaming pass."""
    calls: dict[Node, list[tuple[list[_Version], ColumnReader]]] = {}
    for layer, own in itertools.groupby(versions, key=lambda version: version.layer):
        of_layer = list(own)
        for node in network.layer_nodes()[layer]:
            shape = tuple(layer_weight(network, node).shape)
            reader = ColumnReader(node, shape, samples_of(batches))
            calls.setdefault(arguments_of(node)[0], []).append((of_layer, reader))
    found: dict[_Version, InputMoments] = {}
    runner = network.runner()
    with torch.no_grad():
        for number, batch in enumerate(batches):
            fold = number % folds

            def collect(source: Node, value: Tensor, fold: int = fold) -> Tensor:
                for own, reader in calls.get(source, ()):
                    more = input_moments(reader, value)
                    for version in own:
                        if version.left_out != fold:
                            found[version] = found[version] + more if version in found else more
                return value

            runner.watch(batch.inputs, collect)
    return found


def _rounded(
    rows: Tensor, scatter: Tensor, means: Tensor, rounding: str
) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    """All widths in one go: one factor of the moments serves the rows of every width.

    Args:
        rows: (groups, out, k).
        scatter: (groups, k, k).
        means: (groups, k).
        rounding: see ``weight_candidates``.

    Returns:
        By width, integers (groups, out, k), their scales (groups, out, 1) and what the bias takes
        up (groups, out).
    """
    bounds = torch.tensor([level_bounds(bits) for bits in WIDTHS], dtype=rows.dtype)
    low, high = bounds.repeat_interleave(rows.shape[1], dim=0)[None, :, :, None].unbind(2)
    stacked = rows.repeat(1, len(WIDTHS), 1)
    if rounding == "nearest":
        scales = torch.cat([weight_scales(rows, bits) for bits in WIDTHS], dim=1)
        levels = nearest_levels(stacked, scales, low, high)
    else:
        unclipped = rounding == "coded"
        starts = [starting_scales(rows, bits, scatter, unclipped=unclipped) for bits in WIDTHS]
        levels, scales = fitted_levels(stacked, (low, high), torch.cat(starts, 1), scatter)
    shifts = ((stacked - levels * scales) @ means[..., None])[..., 0]
    parts = zip(*(each.chunk(len(WIDTHS), 1) for each in (levels, scales, shifts)), strict=True)
    return dict(zip(WIDTHS, parts, strict=True))
