"""LSTM and GRU layers with the batch first, as files and the integer record hold tensors.

torch's layers may read steps first, as ONNX's always do, and give their last states with the
directions first. Each becomes a call that reads and gives the batch first. The transposes that this
leaves around it are moved on through what selects, cuts and reshapes, until they are undone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten

RECURRENT = (aten.lstm.input, aten.gru.input)

FROM_ZERO = "from_zero"
"""Key of a recurrent node's ``meta``: it has the batch first, and starts from a state of zeros."""

_ZEROS = (aten.zeros.default, aten.new_zeros.default)


def put_batch_first(module: GraphModule) -> None:
    """Rewrite the recurrent layers of a network, where they start from zeros."""
    found = [node for node in module.graph.nodes if node.target in RECURRENT]
    for node in found:
        _rewrite(module, node)
    if found:
        module.graph.eliminate_dead_code()
        _move_transposes_on(module)


def _rewrite(module: GraphModule, node: Node) -> None:
    arguments: tuple[Any, ...] = node.args
    x, start, weights, has_biases, layers, *_, two_ways, batch_first = arguments
    starts = start if isinstance(start, list | tuple) else [start]
    directions = 2 if two_ways else 1
    plain = len(weights) == layers * directions * (4 if has_biases else 2)
    if not plain or not all(_is_zero(module, each) for each in starts):
        return
    for each in starts:
        each.meta.pop("nn_module_stack", None)  # or the zeros would take the layer's name
    with module.graph.inserting_before(node):
        given = x if batch_first else _swapped(node, x)
        target: Any = node.target
        call = node.graph.call_function(target, (given, *arguments[1:-1], True))
        states = node.meta["val"][0]
        # Found in the example: torch computes none of a recurrent layer for sizes that are open.
        example = states if batch_first else states.permute(1, 0, 2)
        call.meta = {**node.meta, "val": (example,), FROM_ZERO: True}
        every = _call(node, operator.getitem, call, 0)
        for piece in list(node.users):
            if piece.args[1] == 0:
                piece.replace_all_uses_with(every if batch_first else _swapped(node, every))
            elif piece.args[1] == 1 and layers == 1:
                piece.replace_all_uses_with(_last_states(node, every, directions))
    _erase_unread(module, node)


def _erase_unread(module: GraphModule, node: Node) -> None:
    """What ``eliminate_dead_code`` keeps, because dropout between layers would draw numbers."""
    for piece in list(node.users):
        if not piece.users:
            module.graph.erase_node(piece)
    if not node.users:
        module.graph.erase_node(node)


def _is_zero(module: GraphModule, state: Any) -> bool:
    """Whether a state is made of zeros, or was folded to a parameter of zeros."""
    if state.op == "get_attr":
        return not bool(operator.attrgetter(str(state.target))(module).any())
    return state.target in _ZEROS


def _last_states(node: Node, every: Node, directions: int) -> Node:
    """(directions, batch, hidden) from all states: (batch, steps, directions * hidden)."""
    hidden = every.meta["val"].shape[-1] // directions
    last = _call(node, aten.select.int, every, 1, -1)
    if directions == 2:
        # The second direction walks backwards, so it ends at the first step.
        forwards = _call(node, aten.slice.Tensor, last, 1, 0, hidden)
        first = _call(node, aten.select.int, every, 1, 0)
        backwards = _call(node, aten.slice.Tensor, first, 1, hidden, 2 * hidden)
        last = _call(node, aten.cat.default, [forwards, backwards], 1)
    apart = _call(node, aten.unflatten.int, last, 1, [directions, hidden])
    return _swapped(node, apart)


def _swapped(place: Node, source: Node) -> Node:
    """The first two of three dimensions the other way round."""
    return _call(place, aten.permute.default, source, [1, 0, 2])


def _call(place: Node, target: Any, *arguments: Any) -> Node:
    """A new call at a node's place in the user's modules, with an example of its value."""
    made = place.graph.call_function(target, arguments)
    made.meta = {key: value for key, value in place.meta.items() if key != "val"}
    made.meta["val"] = target(*torch.fx.node.map_arg(arguments, lambda node: node.meta["val"]))
    return made


@dataclass(frozen=True)
class _Turned:
    """A tensor as a transpose of another.

    Attributes:
        source: of the same values.
        order: dimension d of the tensor is dimension ``order[d]`` of the source.
    """

    source: Node
    order: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether nothing is transposed."""
        return self.order == tuple(range(len(self.order)))

    def without(self, source: Node, dropped: Sequence[int]) -> _Turned:
        """The source without the dimensions that these of the tensor are."""
        gone = [self.order[dim] for dim in dropped]
        kept = [place for dim, place in enumerate(self.order) if dim not in dropped]
        return _Turned(source, tuple(p - sum(each < p for each in gone) for p in kept))


def _move_transposes_on(module: GraphModule) -> None:
    """Do the transposes that move the first dimension as late as possible, or not at all."""
    turned: dict[Node, _Turned] = {}
    for node in list(module.graph.nodes):
        move = _MOVES.get(node.target)
        if move is None or not isinstance(node.args[0], Node):
            continue
        before = turned.get(node.args[0]) or _as_it_is(node)
        if before is None:
            continue
        with module.graph.inserting_before(node):
            after = move(node, before)
            if after is not None and after.order[0] != 0:
                turned[node] = after
            elif after is not None and after.is_plain:
                node.replace_all_uses_with(after.source)
            elif after is not None and node.args[0] in turned:
                kept = _call(node, aten.permute.default, after.source, list(after.order))
                node.replace_all_uses_with(kept)
    module.graph.eliminate_dead_code()


def _as_it_is(node: Node) -> _Turned | None:
    """What a transpose reads, where no other transpose is before it."""
    source = node.args[0]
    if node.target not in (aten.permute.default, aten.transpose.int):
        return None
    assert isinstance(source, Node)
    return _Turned(source, tuple(range(source.meta["val"].dim())))


def _permute(node: Node, before: _Turned) -> _Turned:
    if node.target is aten.permute.default:
        dims = [dim % len(before.order) for dim in _numbers(node.args[1])]
    else:
        dims = list(range(len(before.order)))
        one, other = (dim % len(dims) for dim in _numbers(node.args[1:3]))
        dims[one], dims[other] = other, one
    return _Turned(before.source, tuple(before.order[dim] for dim in dims))


def _select(node: Node, before: _Turned) -> _Turned:
    dim = _dimension(node, before)
    source = _call(node, aten.select.int, before.source, before.order[dim], node.args[2])
    return before.without(source, [dim])


def _slice(node: Node, before: _Turned) -> _Turned:
    dim = _dimension(node, before)
    limits = node.args[2:]
    source = _call(node, aten.slice.Tensor, before.source, before.order[dim], *limits)
    return _Turned(source, before.order)


def _flip(node: Node, before: _Turned) -> _Turned:
    dims = [before.order[dim] for dim in _numbers(node.args[1])]
    return _Turned(_call(node, aten.flip.default, before.source, dims), before.order)


def _squeeze(node: Node, before: _Turned) -> _Turned:
    named = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
    dims = [dim % len(before.order) for dim in _numbers(named)]
    places = [before.order[dim] for dim in dims]
    return before.without(_call(node, aten.squeeze.dims, before.source, places), dims)


def _unflatten(node: Node, before: _Turned) -> _Turned:
    dim, sizes = _dimension(node, before), node.args[2]
    assert isinstance(sizes, list | tuple)
    place, more = before.order[dim], len(sizes) - 1
    source = _call(node, aten.unflatten.int, before.source, place, sizes)
    moved = [other + more * (other > place) for other in before.order]
    return _Turned(source, (*moved[:dim], *range(place, place + more + 1), *moved[dim + 1 :]))


def _reshape(node: Node, before: _Turned) -> _Turned | None:
    """A reshape of the last dimensions, which are not transposed."""
    count = max(d for d, place in enumerate(before.order) if d != place) + 1
    old, target = list(node.args[0].meta["val"].shape), node.args[1]  # type: ignore[union-attr]
    new = list(node.meta["val"].shape)
    assert isinstance(target, list | tuple)
    batch = before.order.index(0)
    kept = [size for dim, size in enumerate(old[:count]) if dim != batch]
    if [size for dim, size in enumerate(new[:count]) if dim != batch] != kept:
        return None
    behind = old[count:], new[count:]
    whole = all(isinstance(size, int) for size in (*behind[0], *behind[1]))
    if not whole or math.prod(behind[0]) != math.prod(behind[1]) or batch >= count:
        return None
    sizes = [-1 if place == 0 else old[before.order.index(place)] for place in range(count)]
    source = _call(node, aten.reshape.default, before.source, [*sizes, *new[count:]])
    return _Turned(source, (*before.order[:count], *range(count, len(new))))


def _dimension(node: Node, before: _Turned) -> int:
    (dim,) = _numbers(node.args[1:2])
    return dim % len(before.order)


def _numbers(arguments: Any) -> tuple[int, ...]:
    return tuple(int(each) for each in arguments)


_MOVES: dict[Any, Callable[[Node, _Turned], _Turned | None]] = {
    aten.permute.default: _permute,
    aten.transpose.int: _permute,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
    aten.flip.default: _flip,
    aten.squeeze.dim: _squeeze,
    aten.squeeze.dims: _squeeze,
    aten.unflatten.int: _unflatten,
    aten.reshape.default: _reshape,
}
