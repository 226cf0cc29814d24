"""Patterns of several modules that are one layer, found and replaced.

Each function is one rewrite; ``rewrite`` lists them in order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from sigmaquant.network.onnx.building import LAYERS, RANK, WANTED_PATH
from sigmaquant.network.onnx.operators.activations import Clip
from sigmaquant.network.onnx.operators.arithmetic import (
    Apply,
    Function,
    Reduction,
    WithNumber,
    WithTensor,
    divide,
)
from sigmaquant.network.onnx.operators.normalisation import layer_norm
from sigmaquant.network.onnx.transposes import remove_transposes

_Module = TypeVar("_Module", bound=nn.Module)
_CLOSE = 1e-4
"""Constants such as 1/sqrt(2) are stored with few digits by some exporters."""


def rewrite(network: GraphModule) -> GraphModule:
    """Apply every rewrite; the network is edited and returned."""
    rewrites: tuple[Callable[[GraphModule], None], ...] = (
        remove_transposes,
        find_hard_sigmoids,
        find_gated,
        find_gelus,
        find_layer_norms,
        fold_scales,
    )
    for each in rewrites:
        each(network)
        network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    give_free_names(network)
    network.graph.lint()
    network.recompile()
    return network


def find_hard_sigmoids(network: GraphModule) -> None:
    """``clip(x + 3, 0, 6) / 6`` is a hard sigmoid; with ``x *`` in it a hard swish."""
    for node in _calls(network):
        scaled = _with_number(network, node, divide, 6.0) or _with_number(
            network, node, torch.mul, 1 / 6
        )
        if scaled is None:
            continue
        inner = _shifted_relu6(network, scaled)
        if inner is not None:
            _replace(network, node, nn.Hardsigmoid(), inner)
            continue
        for a, b in _factors(network, scaled):
            if _shifted_relu6(network, b) is a:
                _replace(network, node, nn.Hardswish(), a)
                break


def _shifted_relu6(network: GraphModule, node: Node) -> Node | None:
    """x, where the node is ``clip(x + 3, 0, 6)``."""
    module = _module(network, node, nn.ReLU6) or _module(network, node, Clip)
    if module is None or (isinstance(module, Clip) and (module.low, module.high) != (0, 6)):
        return None
    return _with_number(network, _source(node), torch.add, 3.0)


def find_gated(network: GraphModule) -> None:
    """``x * sigmoid(x)`` is SiLU, and with a hard sigmoid a hard swish."""
    for node in _calls(network):
        for x, gate in _factors(network, node):
            kinds = ((nn.Sigmoid, nn.SiLU), (nn.Hardsigmoid, nn.Hardswish))
            for inner, whole in kinds:
                if _module(network, gate, inner) and _source(gate) is x:
                    _replace(network, node, whole(), x)


def find_gelus(network: GraphModule) -> None:
    """``x * (1 + erf(x / sqrt(2))) / 2`` in any order of its products (Hendrycks 2016, sec. 2)."""
    for node in _calls(network):
        factors, halves = _product(network, node)
        for x, other in (factors, factors[::-1]) if len(factors) == 2 else ():
            if halves == 1 and _is_one_plus_erf(network, other, x):
                _replace(network, node, nn.GELU(), x)
                break


def _product(network: GraphModule, node: Node) -> tuple[list[Node], int]:
    """The factors of a product of up to three, and how many of them were the number 1/2."""
    half = _half(network, node)
    if half is not None:
        pairs = _factors(network, half)
        return (list(pairs[0]), 1) if pairs else ([half], 1)
    pairs = _factors(network, node)
    if not pairs:
        return [node], 0
    halves = [_half(network, factor) if len(factor.users) == 1 else None for factor in pairs[0]]
    kept = [h or factor for h, factor in zip(halves, pairs[0], strict=True)]
    return kept, sum(h is not None for h in halves)


def _half(network: GraphModule, node: Node) -> Node | None:
    return _with_number(network, node, torch.mul, 0.5) or _with_number(network, node, divide, 2.0)


def _is_one_plus_erf(network: GraphModule, node: Node, x: Node) -> bool:
    erf = _with_number(network, node, torch.add, 1.0)
    module = _module(network, erf, Apply)
    if erf is None or module is None or module.function is not torch.erf:
        return False
    scaled, root = _source(erf), math.sqrt(2)
    inner = _with_number(network, scaled, divide, root) or _with_number(
        network, scaled, torch.mul, 1 / root
    )
    return inner is x


def find_layer_norms(network: GraphModule) -> None:
    """``(x - mean) / sqrt(var + eps) * scale + bias`` over the last dimension (Ba et al. 2016)."""
    for node in _calls(network):
        operands = _operands(network, node, divide)
        if operands is None:
            continue
        centred, spread = operands
        x = _centre(network, centred)
        epsilon = _epsilon(network, spread, x)
        if x is None or epsilon is None:
            continue
        node, scale = _trailing_vector(network, node, torch.mul)
        node, bias = (
            _trailing_vector(network, node, torch.add) if scale is not None else (node, None)
        )
        width = scale.shape[0] if scale is not None else None
        if width is not None:
            _replace(network, node, layer_norm((width,), epsilon, scale, bias), x)


def _centre(network: GraphModule, node: Node | None) -> Node | None:
    """x, where the node is ``x - mean(x)`` over the last dimension."""
    operands = _operands(network, node, torch.sub)
    if operands is None:
        return None
    x, mean = operands
    return x if _last_mean(network, mean) is x else None


def _last_mean(network: GraphModule, node: Node) -> Node | None:
    """x, where the node is its mean over the last dimension."""
    module = _module(network, node, Reduction)
    if module is None or module.function is not torch.mean or not module.keep:
        return None
    source = _source(node)
    return source if module.axes == (source.meta[RANK] - 1,) else None


def _epsilon(network: GraphModule, node: Node, x: Node | None) -> float | None:
    """eps, where the node is ``sqrt(mean((x - mean(x))^2) + eps)``."""
    root = _module(network, node, Apply)
    if root is None or root.function is not torch.sqrt:
        return None
    shifted = _source(node)
    added = _module(network, shifted, WithNumber)
    if added is None or added.function is not torch.add:
        return None
    square = _last_mean(network, _source(shifted))
    centred = square and (
        _with_number(network, square, torch.pow, 2.0) or _squared(network, square)
    )
    return added.number if centred and _centre(network, centred) is x else None


def _squared(network: GraphModule, node: Node) -> Node | None:
    pairs = _factors(network, node)
    return pairs[0][0] if pairs and pairs[0][0] is pairs[0][1] else None


def _trailing_vector(
    network: GraphModule, node: Node, function: Function
) -> tuple[Node, nn.Parameter | None]:
    """The one reader of a node that applies a vector along the last dimension, and the vector."""
    reader = next(iter(node.users)) if len(node.users) == 1 else None
    module = _module(network, reader, WithTensor)
    if reader is None or module is None or module.function is not function:
        return node, None
    vector = module.constant
    if vector.dim() != 1 or not isinstance(vector, nn.Parameter):
        return node, None
    return reader, vector


def fold_scales(network: GraphModule) -> None:
    """Fold a product with or a sum of constants into the layer that alone feeds it."""
    uses = _uses(network)
    for node in _calls(network):
        line = _line(network, node)
        source = _source(node) if line is not None else None
        if line is None or source is None or len(source.users) != 1:
            continue
        layer = _layer(network, source)
        channels = None if layer is None else _channels(layer)
        if layer is None or channels is None or uses.is_shared(str(source.target), layer):
            continue
        axis = -1 if isinstance(layer, nn.Linear) else 1
        vectors = [_per_channel(each, node.meta[RANK], axis, channels) for each in line]
        if vectors[0] is not None and vectors[1] is not None:
            _apply_line(layer, vectors[0], vectors[1])
            node.replace_all_uses_with(source)
            network.graph.erase_node(node)


def _line(network: GraphModule, node: Node) -> tuple[Tensor, Tensor] | None:
    """(a, b) where the node is ``a x + b`` with constants that broadcast with x, in float64."""
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, WithNumber):
        constant, first = torch.tensor(module.number, dtype=torch.float64), False
    elif isinstance(module, WithTensor) and module.constant.is_floating_point():
        constant, first = module.constant.detach().double(), module.first
    else:
        return None
    if constant.dim() > node.args[0].meta[RANK]:  # type: ignore[union-attr]
        return None
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    lines: dict[tuple[Function, bool], tuple[Tensor, Tensor]] = {
        (torch.add, False): (one, constant),
        (torch.add, True): (one, constant),
        (torch.sub, False): (one, -constant),
        (torch.sub, True): (-one, constant),
        (torch.rsub, False): (-one, constant),
        (torch.mul, False): (constant, zero),
        (torch.mul, True): (constant, zero),
    }
    if module.function is divide and not first and bool((constant != 0).all()):
        return 1 / constant, zero
    return lines.get((module.function, first))


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def _layer(network: GraphModule, node: Node) -> nn.Module | None:
    """The module of a node, if it is a layer with a weight for each output channel."""
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    return module if isinstance(module, (*LAYERS, *_BATCH_NORMS)) else None


def _channels(layer: nn.Module) -> int:
    if isinstance(layer, _TRANSPOSED):
        return layer.out_channels
    return cast(Tensor, layer.weight).shape[0]


@dataclass(frozen=True)
class _Uses:
    """How often a module is called, by path, and a parameter is held, by its id."""

    calls: Counter[str]
    holders: Counter[int]

    def is_shared(self, path: str, layer: nn.Module) -> bool:
        """Whether the layer is called elsewhere, or another reads its weight or bias."""
        return self.calls[path] > 1 or any(self.holders[id(p)] > 1 for p in layer.parameters())


def _uses(network: GraphModule) -> _Uses:
    held = (p for module in network.modules() for p in module.parameters(recurse=False))
    return _Uses(Counter(str(node.target) for node in _calls(network)), Counter(map(id, held)))


def _per_channel(constant: Tensor, rank: int, axis: int, channels: int) -> Tensor | None:
    """The constant as (channels,), if it is the same everywhere else."""
    shape = [1] * (rank - constant.dim()) + list(constant.shape)
    size = shape.pop(axis)
    if any(other != 1 for other in shape) or size not in (1, channels):
        return None
    return constant.reshape(-1).expand(channels)


def _apply_line(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Make the layer give ``scale * y + shift`` where it gave y; both are (channels,)."""
    weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
    if isinstance(layer, _TRANSPOSED):
        # (in, out / groups, ...): the groups lie along the first dimension.
        grouped = scale.reshape(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
        blocks = weight.detach().double().unflatten(0, (layer.groups, -1))
        scaled = (blocks * grouped).flatten(0, 1)
    else:
        scaled = weight.detach().double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    shifted = shift if bias is None else bias.detach().double() * scale + shift
    layer.register_parameter("weight", nn.Parameter(scaled.float()))
    if bias is not None or bool(shift.any()):
        layer.register_parameter("bias", nn.Parameter(shifted.float()))


def give_free_names(network: GraphModule) -> None:
    """Move a module to the name it should have, where what had it is gone."""
    calls = Counter(str(node.target) for node in _calls(network))
    taken = Counter(each for path in calls for each in _prefixes(path))
    for node in _calls(network):
        path, wanted = str(node.target), node.meta.get(WANTED_PATH)
        if wanted is None or calls[path] > 1 or taken[wanted] or calls.keys() & _prefixes(wanted):
            continue
        network.add_submodule(wanted, network.get_submodule(path))
        network.delete_submodule(path)
        node.target = wanted
        taken.subtract(_prefixes(path))
        taken.update(_prefixes(wanted))
        calls[wanted] = calls.pop(path)


def _prefixes(path: str) -> set[str]:
    """The path and all that it lies in: of "a.b.c", "a", "a.b" and itself."""
    parts = path.split(".")
    return {".".join(parts[: i + 1]) for i in range(len(parts))}


def _calls(network: GraphModule) -> list[Node]:
    return [node for node in network.graph.nodes if node.op == "call_module"]


def _module(network: GraphModule, node: Node | None, kind: type[_Module]) -> _Module | None:
    """The module of a node, if it is of that kind."""
    if node is None or node.op != "call_module":
        return None
    module = network.get_submodule(str(node.target))
    return module if isinstance(module, kind) else None


def _source(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _with_number(
    network: GraphModule, node: Node | None, function: Function, number: float
) -> Node | None:
    """x, where the node is ``function(x, number)``."""
    module = _module(network, node, WithNumber)
    if node is None or module is None or module.function is not function:
        return None
    return _source(node) if math.isclose(module.number, number, rel_tol=_CLOSE) else None


def _operands(
    network: GraphModule, node: Node | None, function: Function
) -> tuple[Node, Node] | None:
    module = _module(network, node, Apply)
    if node is None or module is None or module.function is not function:
        return None
    a, b = node.args
    assert isinstance(a, Node)
    assert isinstance(b, Node)
    return a, b


def _factors(network: GraphModule, node: Node) -> list[tuple[Node, Node]]:
    """The two factors of a product, both ways round; nothing where the node is none."""
    operands = _operands(network, node, torch.mul)
    return [] if operands is None else [operands, operands[::-1]]


def _replace(network: GraphModule, node: Node, module: nn.Module, source: Node) -> None:
    """Put one module, which reads ``source``, in the place of a node and its pattern."""
    network.set_submodule(str(node.target), module)
    node.args = (source,)
