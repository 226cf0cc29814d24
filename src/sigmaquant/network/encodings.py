"""Which values are integers, and which of them have to share one encoding.

Everything here follows from the graph alone, before any data is seen:

1. Layers and matrix products run in integers. Any other operator does if its role allows it and
   if that saves a detour: its result reaches a layer or matrix product through integer operators,
   or all its inputs are integers anyway.
2. A ReLU or clamp right behind a layer or a sum is *fused*: it only limits the output's range.
3. Values of one precision group share scale, zero point and width. A value that is moved, and all
   inputs of a concat, are in one group.
4. Where a group's tensors are summed into two different groups, these become one: the scales of
   the summands are exact multiples of the sum's scale (see ``lowering``), and a scale cannot be
   a multiple of two unrelated ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch.fx import Graph, Node

from sigmaquant.network.operators import (
    CONVOLUTIONS,
    PADS,
    Role,
    aten,
    layer_name,
    pad_sides,
    role_of,
    slice_axis,
)

_PRODUCTS = (Role.LAYER, Role.MATMUL)
_KEEPS_ENCODING = (Role.CLAMP, Role.MOVE, Role.CONCAT)


@dataclass(frozen=True)
class Encodings:
    """The integer part of a network.

    Attributes:
        roles: of every computing node; FLOAT where it stays float, whatever it could be.
        fused: the clamp that is part of a layer or sum, by that node.
        groups: precision group of every value that is quantized.
        sites: the nodes behind which integers are written anew, in order of execution.
        sum_groups: (summand's group, sum's group) of every sum whose groups differ.
        absorbed: nodes whose work their only reader does: a spatial zero pad before a convolution,
            a slice before a slice of another dimension.
    """

    roles: dict[Node, Role]
    fused: dict[Node, Node]
    groups: dict[Node, str]
    sites: tuple[Node, ...]
    sum_groups: frozenset[tuple[str, str]]
    absorbed: frozenset[Node]

    def is_integer(self, node: Node) -> bool:
        """Whether the operator computes on integers."""
        return self.roles.get(node, Role.FLOAT) not in (Role.FLOAT, Role.INPUT)


def find_encodings(
    graph: Graph, places: dict[Node, str], float_layers: Collection[str] = ()
) -> Encodings:
    """Decide roles, sites and precision groups.

    Args:
        graph: normalised, every node with ``meta["shape"]``.
        places: the name of every computing node, after which groups are named.
        float_layers: layers that are to stay float.
    """
    roles = _integer_roles(graph, float_layers)
    fused = _fused_clamps(roles)
    unions, quantized = _Unions(), _quantized(roles, fused)
    _tie_kept_encodings(roles, quantized, fused, unions)
    _tie_rival_sums(roles, fused, unions)
    names: dict[Node, str] = {}
    groups: dict[Node, str] = {}
    for node in quantized:
        groups[node] = names.setdefault(unions.root(node), places[node])
    sites = tuple(n for n in quantized if _writes_integers(n, roles, fused))
    pairs = _sums(roles, fused)
    return Encodings(
        roles=roles,
        fused=fused,
        groups=groups,
        sites=sites,
        sum_groups=frozenset((groups[a], groups[b]) for a, b in pairs if groups[a] != groups[b]),
        absorbed=_absorbed(roles),
    )


def _absorbed(roles: dict[Node, Role]) -> frozenset[Node]:
    absorbed: set[Node] = set()
    for node in roles:
        # One slice takes in one other: three in a row may cut the same dimension twice.
        if _is_absorbed(node, roles) and absorbed.isdisjoint(node.all_input_nodes):
            absorbed.add(node)
    return frozenset(absorbed)


def _is_absorbed(node: Node, roles: dict[Node, Role]) -> bool:
    if roles[node] is not Role.MOVE or len(node.users) != 1:
        return False
    reader = next(iter(node.users))
    if node.target is aten.slice.Tensor:
        again = roles.get(reader) is Role.MOVE and reader.target is aten.slice.Tensor
        return again and slice_axis(reader) != slice_axis(node)
    into_convolution = roles.get(reader) is Role.LAYER and reader.target in CONVOLUTIONS
    return node.target in PADS and into_convolution and _is_spatial(pad_sides(node))


def _is_spatial(sides: tuple[tuple[int, int], ...]) -> bool:
    """Whether a pad adds zeros around the image only, and takes nothing away."""
    return sides[0] == (0, 0) and all(side >= 0 for pair in sides for side in pair)


def _integer_roles(graph: Graph, float_layers: Collection[str]) -> dict[Node, Role]:
    tensors = [n for n in graph.nodes if n.op in ("placeholder", "call_function")]
    roles = {n: role_of(n) for n in tensors}
    for node, role in roles.items():
        if role is Role.LAYER and layer_name(node) in float_layers:
            roles[node] = Role.FLOAT
    needed = _needed_as_integers(roles)
    for node, role in roles.items():
        if role in (Role.FLOAT, Role.INPUT, *_PRODUCTS) or node in needed:
            continue
        if not all(_has_integers(n, roles, needed) for n in _activations(node)):
            roles[node] = Role.FLOAT
    return roles


def _needed_as_integers(roles: dict[Node, Role]) -> set[Node]:
    """Nodes whose value reaches a layer or matrix product without meeting a float operator."""
    needed: set[Node] = set()
    for node in reversed(roles):
        for user in node.users:
            role = roles.get(user, Role.FLOAT)
            if role in _PRODUCTS or (role is not Role.FLOAT and user in needed):
                needed.add(node)
    return needed


def _has_integers(node: Node, roles: dict[Node, Role], needed: set[Node]) -> bool:
    role = roles.get(node, Role.FLOAT)
    if role is Role.FLOAT or role is Role.INPUT:
        return False
    # A linear layer hands on its accumulators as float where no integers are asked for.
    return not _may_stay_accumulated(node, role) or node in needed


def _may_stay_accumulated(node: Node, role: Role) -> bool:
    return role is Role.LAYER and "linear" in str(node.target)


def _activations(node: Node) -> list[Node]:
    return [n for n in node.all_input_nodes if n.meta["shape"] is not None]


def _fused_clamps(roles: dict[Node, Role]) -> dict[Node, Node]:
    fused = {}
    for node, role in roles.items():
        if role in (Role.LAYER, Role.ADD) and len(node.users) == 1:
            user = next(iter(node.users))
            if roles.get(user) is Role.CLAMP:
                fused[node] = user
    return fused


def _quantized(roles: dict[Node, Role], fused: dict[Node, Node]) -> list[Node]:
    """Nodes whose value exists as integers, in order of execution."""
    quantized = []
    for node, role in roles.items():
        feeds_integers = any(roles.get(u, Role.FLOAT) is not Role.FLOAT for u in node.users)
        optional = role in (Role.FLOAT, Role.INPUT) or _may_stay_accumulated(node, role)
        has_value = node.meta["shape"] is not None and node not in fused
        if has_value and (feeds_integers or not optional):
            quantized.append(node)
    return quantized


def _writes_integers(node: Node, roles: dict[Node, Role], fused: dict[Node, Node]) -> bool:
    # A clamp of its own rounds its limits to the grid, so its integers count as written anew.
    return roles[node] not in (Role.MOVE, Role.CONCAT) or node in fused.values()


def _tie_kept_encodings(
    roles: dict[Node, Role], quantized: list[Node], fused: dict[Node, Node], unions: _Unions
) -> None:
    for node in quantized:
        if roles[node] in _KEEPS_ENCODING and node not in fused.values():
            for source in _activations(node):
                unions.tie(source, node)


def _sums(roles: dict[Node, Role], fused: dict[Node, Node]) -> list[tuple[Node, Node]]:
    """(summand, node that holds the sum) of every integer sum."""
    return [
        (summand, fused.get(node, node))
        for node, role in roles.items()
        if role is Role.ADD
        for summand in _activations(node)
    ]


def _tie_rival_sums(roles: dict[Node, Role], fused: dict[Node, Node], unions: _Unions) -> None:
    """Tie sums that share a summand's group, and sums that feed each other in a circle."""
    pairs = _sums(roles, fused)
    tied = True
    while tied:
        tied = False
        above: dict[Node, Node] = {}
        for summand, total in pairs:
            low, high = unions.root(summand), unions.root(total)
            if low is high:
                continue
            rival = unions.root(above.setdefault(low, high))
            if rival is not high:
                tied = unions.tie(rival, high)
        tied = _tie_circles(above, unions) or tied


def _tie_circles(above: dict[Node, Node], unions: _Unions) -> bool:
    tied = False
    for start in above:
        seen, node = [start], above[start]
        while node in above and node not in seen:
            seen.append(node)
            node = above[node]
        if node in seen:
            for member in seen[seen.index(node) :]:
                tied = unions.tie(node, member) or tied
    return tied


class _Unions:
    """Disjoint sets of nodes; the root is the earliest member tied."""

    def __init__(self) -> None:
        self._parents: dict[Node, Node] = {}

    def root(self, node: Node) -> Node:
        while node in self._parents:
            node = self._parents[node]
        return node

    def tie(self, a: Node, b: Node) -> bool:
        """Make one set of two; False if it was one already."""
        a, b = self.root(a), self.root(b)
        if a is b:
            return False
        self._parents[b] = a
        return True


def name_places(nodes: Iterable[Node]) -> dict[Node, str]:
    """A unique name for every computing node, made of the module path that the user knows."""
    places: dict[Node, str] = {}
    taken: set[str] = set()
    nodes = tuple(nodes)
    layers = {layer_name(node) for node in nodes if role_of(node) is Role.LAYER}
    for node in nodes:
        if node.op in ("placeholder", "call_function"):
            wanted = _place(node, layers)
            name, count = wanted, 1
            while name in taken:
                count += 1
                name = f"{wanted}_{count}"
            taken.add(name)
            places[node] = name
    return places


def _place(node: Node, layers: set[str]) -> str:
    if node.op == "placeholder":
        return str(node.target)
    if role_of(node) is Role.LAYER:
        return layer_name(node)
    operator = getattr(node.target, "__name__", str(node.target)).split(".")[0].strip("_")
    path, kind = (("", ""), *node.meta.get("nn_module_stack", {}).values())[-1]
    if not path or "empty_nn_module_stack" in path:
        return operator
    is_leaf = str(kind).startswith("torch.nn.modules.") and ".container." not in str(kind)
    # A layer's padding must not take the layer's name.
    return path if is_leaf and path not in layers else f"{path}.{operator}"
