"""Where a network is cut into blocks that are reconstructed one after the other.

A cut lies where a single tensor goes on: a residual block is then one block, a plain layer one of
its own. What the network returns does not count; it is compared where it is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch.fx import Node

from sigmaquant.network import Network
from sigmaquant.network.operators import Role, aten

_MOST_LAYERS = 8
"""A region with more, such as a network with long shortcuts, is cut at every layer."""


@dataclass(frozen=True)
class Block:
    """A part of the float graph.

    Attributes:
        calls: in order of execution.
        sizes: further calls, whose values follow from the batch size and parameters alone; they
            come first. Other blocks may have the same.
        inputs: what it reads of earlier blocks and of the network's inputs.
        outputs: what later blocks read of it, and what the network returns of it.
    """

    calls: tuple[Node, ...]
    sizes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]


def find_blocks(network: Network) -> tuple[Block, ...]:
    """Cut a network into as many blocks as have a layer each, in order of execution."""
    flow = _Flow.of(network)
    roles = network.encodings.roles
    layers = [position for position, n in enumerate(flow.calls) if roles[n] is Role.LAYER]
    cuts = _with_layers(flow.cuts(), layers)
    bounds = [0, *(cut + 1 for cut in cuts), len(flow.calls)]
    parts = [part for a, b in itertools.pairwise(bounds) for part in _capped(a, b, layers)]
    return tuple(flow.block(flow.calls[a:b]) for a, b in parts)


@dataclass(frozen=True)
class _Flow:
    """The calls of a graph with the life of every value.

    Attributes:
        calls: in order of execution, without ``sizes``.
        sizes: calls whose values follow from the batch size and parameters alone. Each block
            computes what it reads of them, so that they don't go on from block to block.
        first, last: positions in ``calls`` between which a value has to be kept.
        returned: what the network returns.
    """

    calls: tuple[Node, ...]
    sizes: frozenset[Node]
    first: Mapping[Node, int]
    last: Mapping[Node, int]
    returned: frozenset[Node]

    @classmethod
    def of(cls, network: Network) -> _Flow:
        nodes = tuple(network.module.graph.nodes)
        sizes = _sizes(nodes)
        calls = tuple(n for n in nodes if n.op == "call_function" and n not in sizes)
        first: dict[Node, int] = {}
        last: dict[Node, int] = {}
        for position, call in enumerate(calls):
            first[call] = last[call] = position
            for source in call.all_input_nodes:
                if source.op != "get_attr" and source not in sizes:
                    # An input of the network comes to life where it is read first.
                    first.setdefault(source, position)
                    last[source] = position
        return cls(calls, sizes, first, last, frozenset(nodes[-1].all_input_nodes))

    def cuts(self) -> list[int]:
        """Positions behind which at most one value goes on, and that with the batch first."""
        found = []
        for position in range(len(self.calls) - 1):
            live = [n for n, begun in self.first.items() if begun <= position < self.last[n]]
            if len(live) <= 1 and all(node.meta["shape"] is not None for node in live):
                found.append(position)
        return found

    def block(self, part: Sequence[Node]) -> Block:
        own = set(part)
        read = [source for node in part for source in node.all_input_nodes if source in self.first]
        end = self.first[part[-1]]
        return Block(
            calls=tuple(part),
            sizes=self._sizes_read(part),
            inputs=tuple(dict.fromkeys(node for node in read if node not in own)),
            outputs=tuple(n for n in part if self.last[n] > end or n in self.returned),
        )

    def _sizes_read(self, part: Sequence[Node]) -> tuple[Node, ...]:
        read: set[Node] = set()
        waiting = list(part)
        while waiting:
            sources = self.sizes.intersection(waiting.pop().all_input_nodes) - read
            read |= sources
            waiting += sources
        return tuple(node for node in part[0].graph.nodes if node in read)


def is_batch_size(node: Node) -> bool:
    """Whether a call reads the batch size from a tensor."""
    if node.target is not aten.sym_size.int:
        return False
    source, dimension = node.args
    assert isinstance(source, Node)
    return bool(dimension == 0 and source.meta["shape"] is not None)


def _sizes(nodes: Iterable[Node]) -> frozenset[Node]:
    sizes: set[Node] = set()
    for node in nodes:
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if node.op == "call_function" and (is_batch_size(node) or sizes.issuperset(sources)):
            sizes.add(node)
    return frozenset(sizes)


def _with_layers(cuts: Iterable[int], layers: Sequence[int]) -> list[int]:
    """The cuts between which there is a layer; what has none goes with the layer before it."""
    kept: list[int] = []
    for cut in cuts:
        between = [layer for layer in layers if layer <= cut]
        if not between or len(between) == len(layers):
            continue
        if kept and between[-1] <= kept[-1]:
            kept.pop()
        kept.append(cut)
    return kept


def _capped(start: int, stop: int, layers: Sequence[int]) -> list[tuple[int, int]]:
    """A region of calls, or its parts of one layer each."""
    own = [layer for layer in layers if start <= layer < stop]
    if len(own) <= _MOST_LAYERS:
        return [(start, stop)]
    return list(itertools.pairwise([start, *own[1:], stop]))
