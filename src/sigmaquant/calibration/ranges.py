"""Activation ranges of every precision group, from the float network's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.fx import Node

from sigmaquant.calibration.batches import Batch
from sigmaquant.network import Network
from sigmaquant.network.runner import Watch
from sigmaquant.quantizers import AffineRange, best_range
from sigmaquant.quantizers.ranges import Histogram
from sigmaquant.ranks import SINGLE, Ranks, on_each

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
    histograms = {group: Histogram(low, high) for group, (low, high) in limits.items()}

    def count(node: Node, value: torch.Tensor) -> torch.Tensor:
        if node in groups:
            histograms[groups[node]].add(value)
        return value

    on_each(ranks, lambda: _watch(network, own, count))
    counts = ranks.total([histogram.counts for histogram in histograms.values()])
    for histogram, total in zip(histograms.values(), counts, strict=True):
        histogram.counts = total
    return histograms


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
