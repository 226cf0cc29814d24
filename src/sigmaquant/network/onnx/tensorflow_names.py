"""Gives the nodes of files that tf2onnx wrote the names of the Keras layers that they are of.

TensorFlow calls an operator after the scopes around it, such as ``net_1/conv_1/convolution``: the
network, the layers around the operator, and what the layer does. Keras 3 traces a network twice, so
that all these scopes end in a number that is not the user's. What fuses operators keeps the name of
the last, so a convolution with a batch norm in it is found by the name of its weight.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sigmaquant.network.onnx.records import OnnxGraph, OnnxNode

PRODUCER = "tf2onnx"

_ROOT = re.compile(r"(Stateful)?PartitionedCall(_\d+)?$")
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WHAT_LAYERS_DO = {
    "BiasAdd",
    "Cast",
    "Conv1D",
    "Conv2D",
    "MatMul",
    "Tensordot",
    "conv_transpose",
    "convolution",
    "depthwise",
}
_SEPARABLE = {"separable_conv1d", "separable_conv2d"}
_NUMBER = re.compile(r"_\d+$")
_ENDING = re.compile(r"\d*(_prequant)?(__\d+)?$")
"""What tf2onnx and TensorFlow Lite append to the name of an operator."""

_Scopes = tuple[str, ...]


@dataclass(frozen=True)
class _Layer:
    """Where a layer is: the scopes around what it does, and which of its two parts it is."""

    owners: _Scopes
    part: str = ""


def with_keras_names(graph: OnnxGraph) -> OnnxGraph:
    """The graph with its nodes renamed, if tf2onnx made it; else the graph itself."""
    if graph.producer != PRODUCER:
        return graph
    layers = [_found(node) for node in graph.nodes]
    owners = [layer.owners for layer in layers if layer is not None]
    if not owners:
        return graph
    shared = len({scopes[0] for scopes in owners}) == 1 and min(map(len, owners)) > 1
    numbered = all(_NUMBER.search(scope) for scopes in owners for scope in scopes)

    def shortened(scopes: Sequence[str]) -> _Scopes:
        kept = scopes[1:] if shared and scopes[:1] == owners[0][:1] else scopes
        return tuple(_NUMBER.sub("", scope) if numbered else scope for scope in kept)

    names = {shortened(scopes) for scopes in owners}
    nodes = tuple(
        _renamed_layer(node, shortened(layer.owners), layer.part)
        if layer is not None
        else _renamed(node, (*shortened(_split(node.name)[:-1]), *_split(node.name)[-1:]), names)
        for node, layer in zip(graph.nodes, layers, strict=True)
    )
    return replace(graph, nodes=nodes)


def _renamed_layer(node: OnnxNode, owners: _Scopes, part: str) -> OnnxNode:
    path = ".".join(filter(None, (*owners, part)))
    return replace(node, scopes=(path, node.op_type))


def _renamed(node: OnnxNode, scopes: _Scopes, layers: set[_Scopes]) -> OnnxNode:
    """An operator within a layer, such as its activation, does not take the layer's place."""
    for depth in range(1, len(scopes)):
        if scopes[:depth] in layers:
            scopes = (*scopes[: depth - 1], "_".join(scopes[depth - 1 :]))
            break
    return replace(node, name="/".join(scopes))


def _found(node: OnnxNode) -> _Layer | None:
    """The layer of a node with a weight; a fused one's name lists several operators."""
    if node.op_type not in _LAYERS or len(node.inputs) < 2:
        return None
    texts = (node.inputs[1], *node.name.split(";"))
    return next(filter(None, (_layer(_split(text)) for text in texts)), None)


def _layer(scopes: _Scopes) -> _Layer | None:
    bare = [_ENDING.sub("", scope) for scope in scopes]
    for place in range(1, len(scopes)):
        # A layer may be called after what it does: separable_conv2d_1/separable_conv2d.
        if bare[place] in _SEPARABLE and bare[place] not in bare[place + 1 :]:
            part = "depthwise" if "depthwise" in bare[place:] else "pointwise"
            return _Layer(scopes[:place], part)
        if bare[place] in _WHAT_LAYERS_DO:
            return _Layer(scopes[:place])
    return None


def _split(name: str) -> _Scopes:
    scopes = [part for part in name.partition(":")[0].split("/") if part]
    while scopes and _ROOT.match(scopes[0]):
        scopes.pop(0)
    return tuple(scopes)
