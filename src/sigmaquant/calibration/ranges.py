"""Activation ranges of every precision group, from the float network's values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.fx import Node

from sigmaquant.calibration.batches import Batch
from sigmaquant.network import Network
from sigmaquant.network.operators import Role
from sigmaquant.network.runner import Watch, call
from sigmaquant.quantizers import AffineRange, best_range
from sigmaquant.quantizers.ranges import Histogram
from sigmaquant.ranks import SINGLE, Ranks, on_each

Reader = Callable[[torch.Tensor], torch.Tensor]
Limits = dict[str, tuple[float, float]]
"""Smallest and largest value by precision group; zero lies between them."""


def activation_ranges(
    network: Network, batches: Sequence[Batch], bits: Mapping[str, int]
) -> dict[str, AffineRange]:
    """The minimum-error encoding of every precision group.

    Two passes over the data: the extremes, then histograms between them.

    Args:
        network: run in float.
        batches: calibration data.
        bits: width by precision group.
    """
    histograms = group_histograms(network, batches)
    return {group: best_range(h, bits[group]) for group, h in histograms.items()}


def group_histograms(
    network: Network, batches: Sequence[Batch], ranks: Ranks = SINGLE
) -> dict[str, Histogram]:
    """The distribution of the values of every precision group.

    Each rank counts the values of its share of the batches. Extremes and counts do not depend on
    how these are shared out, so the distribution is the same to the bit.
    """
    groups = {site: network.encodings.groups[site] for site in network.encodings.sites}
    own = batches[ranks.index :: ranks.count]
    limits = _merged_limits(ranks.together(lambda: _limits(network, own, groups)))
    readers = _only_readers(network)
    histograms = {
        group: Histogram(low, high, seen=readers.get(group))
        for group, (low, high) in limits.items()
    }

    def count(node: Node, value: torch.Tensor) -> torch.Tensor:
        if node in groups:
            histograms[groups[node]].add(value)
        return value

    on_each(ranks, lambda: _watch(network, own, count))
    counts = ranks.total([histogram.counts for histogram in histograms.values()])
    for histogram, total in zip(histograms.values(), counts, strict=True):
        histogram.counts = total
    return histograms


def _only_readers(network: Network) -> dict[str, Reader]:
    """The elementwise function that alone reads a group of one tensor, by group."""
    encodings = network.encodings
    members: dict[str, list[Node]] = {}
    for node, group in encodings.groups.items():
        members.setdefault(group, []).append(node)
    readers: dict[str, Reader] = {}
    for group, nodes in members.items():
        users = nodes[0].users if len(nodes) == 1 else ()
        if len(users) == 1 and encodings.roles.get(next(iter(users))) is Role.LOOKUP:
            readers[group] = functools.partial(_looked_up, nodes[0], next(iter(users)))
    return readers


def _looked_up(source: Node, node: Node, value: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = call(node, {source: value})
    return found


def _limits(network: Network, batches: Sequence[Batch], groups: Mapping[Node, str]) -> Limits:
    limits: Limits = {}

    def widen(node: Node, value: torch.Tensor) -> torch.Tensor:
        if node in groups:
            low, high = limits.get(groups[node], (0.0, 0.0))
            smallest, largest = torch.aminmax(value)
            limits[groups[node]] = min(low, float(smallest)), max(high, float(largest))
        return value

    _watch(network, batches, widen)
    return limits


def _merged_limits(parts: Sequence[Limits]) -> Limits:
    """The extremes of all parts; a tensor that is always zero still gets limits apart."""
    merged: Limits = {}
    for part in parts:
        for group, (low, high) in part.items():
            lowest, highest = merged.get(group, (0.0, 0.0))
            merged[group] = min(low, lowest), max(high, highest)
    return {group: (low, high if high > low else 1.0) for group, (low, high) in merged.items()}


def _watch(network: Network, batches: Sequence[Batch], see: Watch) -> None:
    runner = network.runner()
    with torch.no_grad():
        for batch in batches:
            runner.watch(batch.inputs, see)
