"""The layer table of a captured network: layers, tensors and the schedule, without weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch._ops import OpOverload
from torch.fx import Node

from sigmaquant.layers import LayerKind, LayerSpec, LayerTable, StepSpec, TensorSpec
from sigmaquant.network.encodings import Encodings
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.operators import (
    CONVOLUTIONS,
    Role,
    is_global_average,
    is_reshape,
    layer_name,
    operator_name,
)


def layer_table(
    network: str,
    nodes: Sequence[Node],
    encodings: Encodings,
    places: dict[Node, str],
    parameters: dict[str, int],
) -> LayerTable:
    """Describe a captured network.

    Args:
        network: name of its class.
        nodes: in order of execution.
        encodings: what runs in integers.
        places: name of every computing node.
        parameters: number of elements of every parameter and buffer that the graph reads.
    """
    calls = [n for n in nodes if encodings.roles.get(n) is Role.LAYER]
    held_by_layers = {str(arguments_of(n)[i].target) for n in calls for i in (1, 2) if _given(n, i)}
    return LayerTable(
        network=network,
        layers=_layers(calls, encodings),
        tensors=_tensors(nodes, encodings, places),
        steps=_steps(nodes, encodings, places),
        float_parameters=sum(n for name, n in parameters.items() if name not in held_by_layers),
        float_operators=tuple(
            f"{places[n]} ({operator_name(n)})"
            for n in nodes
            if n.op == "call_function" and _is_float_step(n, encodings)
        ),
    )


def _given(node: Node, argument: int) -> bool:
    return arguments_of(node)[argument] is not None


def _layers(calls: Sequence[Node], encodings: Encodings) -> tuple[LayerSpec, ...]:
    uses: dict[str, list[Node]] = {}
    for node in calls:
        uses.setdefault(layer_name(node), []).append(node)
    return tuple(_layer(name, places, encodings) for name, places in uses.items())


def _layer(name: str, uses: Sequence[Node], encodings: Encodings) -> LayerSpec:
    first = uses[0]
    weight_shape = tuple(arguments_of(first)[1].meta["val"].shape)
    per_output = math.prod(weight_shape[1:])
    executed = sum(math.prod(n.meta["shape"]) * per_output for n in uses)
    zero_macs = sum(n.meta.get("zero_taps", 0) * math.prod(weight_shape[:2]) for n in uses)
    result = encodings.fused.get(first, first)
    return LayerSpec(
        name=name,
        kind=layer_kind(first, weight_shape),
        weight_shape=weight_shape,
        input_shape=first.args[0].meta["shape"],  # type: ignore[union-attr]
        output_shape=first.meta["shape"],
        macs=executed - zero_macs,
        zero_macs=zero_macs,
        groups=arguments_of(first)[6] if first.target in CONVOLUTIONS else 1,
        input_groups=tuple(dict.fromkeys(encodings.groups[n.args[0]] for n in uses)),  # type: ignore[index]
        output_group=encodings.groups.get(result),
    )


def layer_kind(node: Node, weight_shape: tuple[int, ...]) -> LayerKind:
    """Convolution, depthwise convolution or linear."""
    if node.target not in CONVOLUTIONS:
        return LayerKind.LINEAR
    groups = arguments_of(node)[6]
    depthwise = groups > 1 and weight_shape[1] == 1
    return LayerKind.DEPTHWISE_CONV if depthwise else LayerKind.CONV


def _is_float_step(node: Node, encodings: Encodings) -> bool:
    # What is no ATen operator computes sizes, or takes one of several results.
    is_operator = isinstance(node.target, OpOverload) and "sym_size" not in str(node.target)
    return is_operator and not encodings.is_integer(node)


def _storage(nodes: Sequence[Node], encodings: Encodings) -> dict[Node, Node]:
    """For each tensor node, the node whose memory it lives in.

    A fused clamp, a node that its only reader absorbs, a reshape, and a clamp that is its input's
    only reader take over the memory of their input.
    """
    absorbed = {clamp: node for node, clamp in encodings.fused.items()}
    storage: dict[Node, Node] = {}
    for node in nodes:
        if node not in encodings.roles or node.meta.get("shape") is None:
            continue
        source = node.args[0] if node.args and isinstance(node.args[0], Node) else None
        in_place = encodings.roles[node] is Role.CLAMP and source and len(source.users) == 1
        if node in absorbed:
            storage[node] = storage[absorbed[node]]
        elif source in storage and (is_reshape(node) or in_place or node in encodings.absorbed):
            storage[node] = storage[source]
        else:
            storage[node] = node
    return storage


def _tensors(
    nodes: Sequence[Node], encodings: Encodings, places: dict[Node, str]
) -> tuple[TensorSpec, ...]:
    storage = _storage(nodes, encodings)
    groups: dict[Node, str | None] = {}
    for node, holder in storage.items():
        groups[holder] = encodings.groups.get(node) or groups.get(holder)
    return tuple(
        TensorSpec(name=places[holder], shape=holder.meta["shape"], group=group)
        for holder, group in groups.items()
    )


def _steps(
    nodes: Sequence[Node], encodings: Encodings, places: dict[Node, str]
) -> tuple[StepSpec, ...]:
    storage = _storage(nodes, encodings)
    order = {node: i for i, node in enumerate(nodes)}
    last_use: dict[Node, int] = {}
    for node, holder in storage.items():
        read_until = max((order[user] for user in node.users), default=order[node])
        last_use[holder] = max(last_use.get(holder, 0), read_until)
    steps = []
    for node, holder in storage.items():
        if node.op != "call_function" or (holder is not node and not _computes(node, encodings)):
            continue
        now = order[node]
        live = [h for h in dict.fromkeys(storage.values()) if order[h] <= now <= last_use[h]]
        role = encodings.roles[node]
        steps.append(
            StepSpec(
                name=places[node],
                operator=_operator_kind(node, role),
                layer=layer_name(node) if role is Role.LAYER else None,
                live=tuple(places[h] for h in live),
                output=places[holder],
                quantized=encodings.is_integer(node),
            )
        )
    return tuple(steps)


def _computes(node: Node, encodings: Encodings) -> bool:
    """Whether a node that shares its input's memory still does work of its own."""
    return encodings.roles[node] is Role.CLAMP and node not in encodings.fused.values()


def _operator_kind(node: Node, role: Role) -> str:
    if role is Role.LAYER:
        return str(layer_kind(node, tuple(arguments_of(node)[1].meta["val"].shape)))
    if role is Role.AVERAGE:
        return "global_average" if is_global_average(node) else "average_pool"
    if role in (Role.MOVE, Role.FLOAT):
        return operator_name(node).split(".")[0]
    return role.name.lower()
