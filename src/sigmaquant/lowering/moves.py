"""Operators that keep the encoding: integers copied, compared or reordered."""

from __future__ import annotations

from torch.fx import Node

from sigmaquant.lowering.program import MaxPool, Operator, Pad, Permute, Reshape, Slice
from sigmaquant.network.normalise import arguments_of, spatial
from sigmaquant.network.operators import PADS, aten, is_reshape, pad_sides, slice_axis


def moved(node: Node, name: str, inputs: tuple[str, ...], output: str) -> Operator:
    """The operator of a node that only copies, compares or reorders integers."""
    rank = len(node.meta["shape"])
    if is_reshape(node):
        return Reshape(name, inputs, output)
    if node.target in PADS:
        return Pad(name, inputs, output, pad_sides(node))
    if node.target is aten.slice.Tensor:
        return sliced((node,), name, inputs, output)
    if node.target is aten.permute.default:
        return Permute(
            name, inputs, output, tuple(d % (rank + 1) - 1 for d in arguments_of(node)[1][1:])
        )
    if node.target is aten.transpose.int:
        order = list(range(rank))
        a, b = (d % (rank + 1) - 1 for d in arguments_of(node)[1:3])
        order[a], order[b] = order[b], order[a]
        return Permute(name, inputs, output, tuple(order))
    _, kernel, stride, padding, dilation, ceil_mode = arguments_of(node)
    window = spatial(kernel, rank - 1)
    return MaxPool(
        name,
        inputs,
        output,
        window,
        spatial(stride, rank - 1) if stride else window,
        tuple((p, p) for p in spatial(padding, rank - 1)),
        spatial(dilation, rank - 1),
        ceil_mode,
    )


def sliced(nodes: tuple[Node, ...], name: str, inputs: tuple[str, ...], output: str) -> Slice:
    """Slices of different dimensions as one."""
    axes = tuple(slice_axis(node) for node in nodes)
    cuts = []
    for node, axis in zip(nodes, axes, strict=True):
        source, _, start, stop, step = arguments_of(node)
        cuts.append(slice(start, stop, step).indices(source.meta["shape"][axis]))
    starts, stops, steps = zip(*cuts, strict=True)
    return Slice(name, inputs, output, axes, starts, stops, steps)
