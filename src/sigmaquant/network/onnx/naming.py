"""Names of modules, as a user of the network knows its layers."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence

from torch import nn

from sigmaquant.network.onnx.records import OnnxNode

_WEIGHT_SUFFIX = ".weight"
_RESERVED = frozenset(dir(nn.Module()))
_KERAS_ROOTS = ("StatefulPartitionedCall", "PartitionedCall")
_KERAS_LAYER_OPERATORS = ("Conv1D", "Conv2D", "DepthwiseConv2dNative", "depthwise", "BiasAdd")


def module_paths(node: OnnxNode, position: int, *, is_layer: bool) -> tuple[str, ...]:
    """Where a node's module should go, best first: dotted paths of valid names.

    A layer is named after its weight where that has a name of a torch module; else a node after
    the modules around it or itself, else after its operator and its place in the file.

    Args:
        node: with a weight as its second input, if it is a layer.
        position: of the node in the file.
        is_layer: whether its module has a weight.
    """
    weight = node.inputs[1] if len(node.inputs) > 1 else ""
    wanted = []
    if is_layer and weight.endswith(_WEIGHT_SUFFIX) and "/" not in weight:
        wanted.append(weight.removesuffix(_WEIGHT_SUFFIX))
    if node.scopes:
        wanted.append(_torch_path(node.scopes, is_layer=is_layer))
    wanted.append(_node_path(node))
    paths = (".".join(filter(None, map(_valid, path.split(".")))) for path in wanted)
    return (*filter(None, paths), f"{node.op_type.lower()}_{position}")


def _torch_path(scopes: tuple[str, ...], *, is_layer: bool) -> str:
    """The module around an operator, of a layer; else with the operator's own name."""
    *owners, operator = scopes
    owner = owners[-1] if owners else ""
    if is_layer and owner:
        return owner
    return ".".join(filter(None, (owner, operator)))


def _node_path(node: OnnxNode) -> str:
    """A name such as ``/layer1/layer1.0/conv1/Conv`` without what it repeats: layer1.0.conv1."""
    scopes = [part for part in node.name.removeprefix("node_").split("/") if part]
    while scopes and scopes[0] in _KERAS_ROOTS:
        scopes.pop(0)
    if len(scopes) > 1 and _names_operator(scopes[-1], node.op_type):
        scopes.pop()
    # The exporter of torch repeats the path of what holds a module: layer1, then layer1.0.
    kept = [
        scope
        for scope, following in zip(scopes, [*scopes, ""][1:], strict=True)
        if not following.startswith(f"{scope}.")
    ]
    return ".".join(kept)


def _names_operator(scope: str, op_type: str) -> bool:
    bare = re.sub(r"_\d+$", "", scope)
    return bare == op_type or bare in _KERAS_LAYER_OPERATORS


def _valid(part: str) -> str:
    """As a name of an attribute of a module.

    >>> _valid("conv2d:0"), _valid("train"), _valid("0")
    ('conv2d_0', 'train_', '0')
    """
    name = re.sub(r"[^0-9A-Za-z_]", "_", part).strip("_")
    return f"{name}_" if name in _RESERVED or keyword.iskeyword(name) else name


class ModuleTree:
    """Modules under a root at dotted paths, none inside another that computes."""

    def __init__(self) -> None:
        self.root = nn.Module()
        self._containers: set[nn.Module] = {self.root}

    def add(self, paths: Sequence[str], module: nn.Module) -> str:
        """Put a module at the first path that is free, else at one like the first.

        Returns the path.
        """
        for path in paths:
            if self._put(path, module):
                return path
        count = 2
        while not self._put(f"{paths[0]}_{count}", module):
            count += 1
        return f"{paths[0]}_{count}"

    def _put(self, path: str, module: nn.Module) -> bool:
        """Put a module at the path, unless something is there or above it."""
        *owners, leaf = path.split(".")
        place = self.root
        for part in owners:
            if not hasattr(place, part):
                container = nn.Module()
                self._containers.add(container)
                place.add_module(part, container)
            place = getattr(place, part)
            if place not in self._containers:
                return False
        if hasattr(place, leaf):
            return False
        place.add_module(leaf, module)
        return True
