"""One streaming pass over data: what every layer, tensor and input of the network sees.

Only sums are kept, so the memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration.batches import Batch
from sigmaquant.calibration.check.classes import Classes
from sigmaquant.calibration.check.clipping import OutsideShare, outside
from sigmaquant.calibration.check.inputs import InputFacts, input_facts, summed
from sigmaquant.calibration.check.shift import Moments
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.operators import CONVOLUTIONS
from sigmaquant.quantizers import AffineRange


@dataclass(frozen=True)
class BlockedBatch:
    """A batch whose samples belong to blocks.

    Attributes:
        batch: the samples.
        blocks: (batch,): the block of each.
        held_back: (batch,): whether the ranges have not seen it.
    """

    batch: Batch
    blocks: Tensor
    held_back: Tensor


@dataclass(frozen=True)
class Observation:
    """What was seen of some data.

    Attributes:
        samples: how many.
        inputs: of each input of the network, in order.
        classes: how often each occurs; None before any sample.
        moments: of each layer's inputs, by layer.
        clipped: values outside the ranges, by precision group; of held-back samples only.
    """

    samples: int = 0
    inputs: tuple[InputFacts | None, ...] | None = None
    classes: Classes | None = None
    moments: Mapping[str, Moments] = field(default_factory=dict)
    clipped: Mapping[str, OutsideShare] = field(default_factory=dict)

    def plus_inputs(self, batch: Batch) -> Observation:
        """With the inputs of one more batch."""
        facts = input_facts(batch)
        return replace(
            self,
            samples=self.samples + len(batch),
            inputs=facts if self.inputs is None else summed(self.inputs, facts),
        )


def observe_inputs(batches: Iterable[Batch]) -> Observation:
    """What the inputs alone tell, without running the network."""
    seen = Observation()
    for batch in batches:
        seen = seen.plus_inputs(batch)
    return seen


def observe(
    network: Network,
    batches: Iterable[BlockedBatch],
    blocks: int,
    ranges: Mapping[str, AffineRange],
) -> Observation:
    """Run the float network over the data, once.

    Args:
        network: the float network.
        batches: read one after the other, and not kept.
        blocks: number of blocks that the moments are summed up in.
        ranges: of every precision group.
    """
    seen, watcher = Observation(), _Watcher(network, blocks, ranges)
    with torch.no_grad():
        for blocked in batches:
            seen = seen.plus_inputs(blocked.batch)
            classes, moments, clipped = watcher.watch(blocked)
            seen = replace(
                seen,
                classes=classes if seen.classes is None else seen.classes + classes,
                moments={
                    layer: found + seen.moments[layer] if seen.moments else found
                    for layer, found in moments.items()
                },
                clipped={
                    group: seen.clipped.get(group, OutsideShare()).plus(fractions)
                    for group, fractions in clipped.items()
                },
            )
    return seen


class _Watcher:
    """Runs one batch after the other through the network and looks at its values."""

    def __init__(self, network: Network, blocks: int, ranges: Mapping[str, AffineRange]) -> None:
        self._runner = network.runner()
        self._blocks = blocks
        self._ranges = ranges
        self._groups = {site: network.encodings.groups[site] for site in network.encodings.sites}
        self._readers = _readers(network)

    def watch(self, blocked: BlockedBatch) -> tuple[Classes, dict[str, Moments], dict[str, Tensor]]:
        """The classes, the moments by layer, and each held-back sample's clipped fraction."""
        moments: dict[str, Moments] = {}
        clipped: dict[str, Tensor] = {}
        elements: dict[str, int] = {}

        def see(node: Node, value: Tensor) -> Tensor:
            for axis, layers in self._readers.get(node, {}).items():
                found = Moments.of(_by_channel(value, axis), blocked.blocks, self._blocks)
                for layer in layers:
                    moments[layer] = moments[layer] + found if layer in moments else found
            if node in self._groups:
                group, held = self._groups[node], value[blocked.held_back]
                more = outside(held, self._ranges[group])
                clipped[group] = clipped[group] + more if group in clipped else more
                elements[group] = elements.get(group, 0) + value[0].numel()
            return value

        outputs = self._runner.watch(blocked.batch.inputs, see)
        fractions = {group: count / elements[group] for group, count in clipped.items()}
        return Classes.of(blocked.batch, outputs), moments, fractions


def _readers(network: Network) -> dict[Node, dict[int, list[str]]]:
    """The layers that read each value, by the axis of the channels they see in it."""
    readers: dict[Node, dict[int, list[str]]] = {}
    for layer, calls in network.layer_nodes().items():
        for call in calls:
            axis = 1 if call.target in CONVOLUTIONS else -1
            readers.setdefault(arguments_of(call)[0], {}).setdefault(axis, []).append(layer)
    return readers


def _by_channel(value: Tensor, axis: int) -> Tensor:
    """(batch, channels, positions)."""
    return value.movedim(axis, 1).reshape(len(value), value.shape[axis], -1)


def input_layers(network: Network) -> tuple[str, ...]:
    """The layers that no other layer comes before."""
    layers = {call: layer for layer, calls in network.layer_nodes().items() for call in calls}
    behind: set[Node] = set()
    first: dict[str, None] = {}
    for node in network.runner().nodes:
        if not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
        elif node in layers:
            behind.add(node)
            first[layers[node]] = None
    return tuple(first)


def in_blocks(
    batches: Sequence[Batch], blocks: int, seed: int, whole_batches: bool
) -> Iterator[BlockedBatch]:
    """The calibration samples in random blocks of equal size; every second block is held back.

    Args:
        batches: all samples.
        blocks: number of blocks.
        seed: of the draw.
        whole_batches: keep the samples of a batch together, for a network of fixed batch size.
    """
    sizes = [len(batch) for batch in batches]
    units = len(batches) if whole_batches else sum(sizes)
    drawn = torch.randperm(units, generator=torch.Generator().manual_seed(seed)) % blocks
    each = drawn.repeat_interleave(torch.tensor(sizes)) if whole_batches else drawn
    for batch, own in zip(batches, each.split(sizes), strict=True):
        yield BlockedBatch(batch, own, own % 2 == 1)


def in_one_block(batches: Iterable[Batch]) -> Iterator[BlockedBatch]:
    """Samples that the ranges have not seen, all in one block."""
    for batch in batches:
        count = len(batch)
        yield BlockedBatch(
            batch, torch.zeros(count, dtype=torch.long), torch.ones(count, dtype=torch.bool)
        )


def seen_by_ranges(blocked: Iterable[BlockedBatch]) -> tuple[Batch, ...]:
    """The samples that are not held back, in their batches."""
    kept = ((b.batch, ~b.held_back) for b in blocked if not bool(b.held_back.all()))
    return tuple(Batch(tuple(x[keep] for x in batch.inputs)) for batch, keep in kept)
