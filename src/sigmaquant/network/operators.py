"""What each ATen operator is to quantization, as one table.

A role says how an operator's integers come about:

======== ==========================================================================================
LAYER    multiplies a weight; accumulates in int32; writes integers of a new encoding
MATMUL   multiplies two tensors; accumulates in int32; writes integers of a new encoding
ADD      rescales two tensors to one new encoding
AVERAGE  sums integers; writes integers of a new encoding
LOOKUP   any function of one tensor, value by value; writes integers of a new encoding
CLAMP    limits integers; keeps the encoding
MOVE     copies, compares or reorders integers; keeps the encoding
CONCAT   as MOVE, and all its inputs have to share one encoding
FLOAT    everything else
======== ==========================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch.fx import Node

from sigmaquant.network.normalise import arguments_of, spatial

aten = torch.ops.aten


class Role(Enum):
    """See the module's table."""

    INPUT = auto()
    LAYER = auto()
    MATMUL = auto()
    ADD = auto()
    AVERAGE = auto()
    LOOKUP = auto()
    CLAMP = auto()
    MOVE = auto()
    CONCAT = auto()
    FLOAT = auto()


CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default)
_LAYERS = (*CONVOLUTIONS, aten.linear.default)

_MATRIX_PRODUCTS = (aten.matmul.default, aten.bmm.default)
_LONGEST_SUM = (2**31 - 1) // 255**2
"""Products of two bytes that int32 holds the sum of, whatever they are."""

_CLAMPS = (
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
)

_ELEMENTWISE = {
    aten.sigmoid.default,
    aten.silu.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.tanh.default,
    aten.gelu.default,
    aten.elu.default,
    aten.selu.default,
    aten.leaky_relu.default,
    aten.mish.default,
    aten.softplus.default,
    aten.exp.default,
    aten.abs.default,
    aten.neg.default,
    aten.erf.default,
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.pow.Tensor_Scalar,
}

RESHAPES = {
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
}

PADS = (aten.pad.default, aten.constant_pad_nd.default)
_MAX_POOLS = (aten.max_pool1d.default, aten.max_pool2d.default)
_AVERAGE_POOLS = (aten.avg_pool1d.default, aten.avg_pool2d.default)
_ADAPTIVE_POOLS = (aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default)


def role_of(node: Node) -> Role:
    """The role of a node whose ``meta["shape"]``, and that of its inputs, is known."""
    if node.op == "placeholder":
        return Role.INPUT
    if node.op != "call_function" or node.meta.get("shape") is None:
        return Role.FLOAT
    checks = (
        (Role.LAYER, is_layer),
        (Role.MATMUL, _is_matmul),
        (Role.ADD, _is_add),
        (Role.AVERAGE, _is_average),
        (Role.CLAMP, is_clamp),
        (Role.LOOKUP, _is_lookup),
        (Role.CONCAT, _is_concat),
        (Role.MOVE, _is_move),
    )
    return next((role for role, holds in checks if holds(node)), Role.FLOAT)


def is_layer(node: Node) -> bool:
    """A convolution or linear layer whose weight is a parameter."""
    if node.target not in _LAYERS:
        return False
    _, weight, bias, *_ = arguments_of(node)
    constant_bias = bias is None or bias.op == "get_attr"
    return bool(weight.op == "get_attr" and constant_bias and _is_activation(arguments_of(node)[0]))


def layer_name(node: Node) -> str:
    """The name of a layer node: the path of the module that owns its weight."""
    target = str(arguments_of(node)[1].target)
    return target.removesuffix(".weight")


def operator_name(node: Node) -> str:
    """The ATen operator without its namespace, such as ``softmax.int``."""
    return str(node.target).removeprefix("aten.")


def _is_activation(value: Any) -> bool:
    return (
        isinstance(value, Node) and value.op != "get_attr" and value.meta.get("shape") is not None
    )


def _is_matmul(node: Node) -> bool:
    """A product of two batches of matrices, none of them repeated."""
    if node.target not in _MATRIX_PRODUCTS:
        return False
    a, b = arguments_of(node)
    if not (_is_activation(a) and _is_activation(b)) or a is b:
        return False
    left, right = a.meta["shape"], b.meta["shape"]
    alike = len(left) == len(right) >= 2 and left[:-2] == right[:-2]
    return alike and left[-1] <= _LONGEST_SUM


def _is_add(node: Node) -> bool:
    if node.target is not aten.add.Tensor:
        return False
    a, b, alpha = arguments_of(node)
    if not (_is_activation(a) and _is_activation(b)) or a is b or alpha != 1:
        return False
    return bool(a.meta["shape"] == b.meta["shape"])


def _is_average(node: Node) -> bool:
    return is_global_average(node) or average_window(node) is not None


def is_global_average(node: Node) -> bool:
    """The mean over all spatial dimensions, however it is written."""
    spatial_shape = arguments_of(node)[0].meta["shape"][1:] if _is_activation_call(node) else ()
    rank = len(spatial_shape)
    if rank not in (1, 2):
        return False
    if node.target is aten.mean.dim:
        _, dims, _, dtype = arguments_of(node)
        return dtype is None and sorted(d % (rank + 2) for d in dims or ()) == [*range(2, rank + 2)]
    if node.target in _ADAPTIVE_POOLS:
        return all(size == 1 for size in spatial(arguments_of(node)[1], rank))
    if node.target in _AVERAGE_POOLS:
        window = average_window(node)
        return window is not None and window[0] == spatial_shape and _unpadded(window[2])
    return False


def _unpadded(padding: tuple[int, ...]) -> bool:
    return not any(padding)


def _is_activation_call(node: Node) -> bool:
    return bool(node.args) and _is_activation(node.args[0])


def average_window(
    node: Node,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """(kernel, stride, padding) of an average pool whose windows all have one divisor."""
    if not _is_activation_call(node):
        return None
    spatial_shape = arguments_of(node)[0].meta["shape"][1:]
    rank = len(spatial_shape)
    if node.target in _AVERAGE_POOLS:
        _, kernel, stride, padding, ceil_mode, counts_padding, *divisor = arguments_of(node)
        sides = spatial(padding, rank)
        if ceil_mode or any(divisor) or not (counts_padding or _unpadded(sides)):
            return None
        return spatial(kernel, rank), spatial(stride or kernel, rank), sides
    if node.target in _ADAPTIVE_POOLS:
        sizes = spatial(arguments_of(node)[1], rank)
        if any(n % out for n, out in zip(spatial_shape, sizes, strict=True)):
            return None
        kernel = tuple(n // out for n, out in zip(spatial_shape, sizes, strict=True))
        return kernel, kernel, (0,) * rank
    return None


def is_clamp(node: Node) -> bool:
    """A ReLU or any clamp between constants."""
    return node.target in _CLAMPS and _is_activation_call(node)


def clamp_limits(node: Node) -> tuple[float, float]:
    """(lowest, highest) value that a clamp lets through.

    ``relu`` gives (0, inf).
    """
    if node.target is aten.relu.default:
        return 0.0, math.inf
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    _, *limits = arguments_of(node)
    if node.target is aten.clamp_max.default:
        limits = [None, *limits]
    low, high = (*limits, None)[:2]
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def _is_lookup(node: Node) -> bool:
    """Known elementwise functions whose only tensor is one activation."""
    if node.target not in _ELEMENTWISE:
        return False
    tensors = node.all_input_nodes
    same_shape = len(tensors) == 1 and tensors[0].meta.get("shape") == node.meta["shape"]
    return same_shape and _is_activation(tensors[0])


def _is_concat(node: Node) -> bool:
    if node.target is not aten.cat.default:
        return False
    tensors, dim = arguments_of(node)
    rank = len(node.meta["shape"]) + 1
    return dim % rank != 0 and all(_is_activation(t) for t in tensors)


def _is_move(node: Node) -> bool:
    if not _is_activation_call(node):
        return False
    if node.target in RESHAPES:
        return True
    rank = len(node.meta["shape"]) + 1
    if node.target in _MAX_POOLS:
        return True
    if node.target in PADS:
        sides = arguments_of(node)[1]
        grows = all(isinstance(side, int) and side >= 0 for side in sides)
        return grows and is_zero_pad(node) and len(sides) // 2 < rank
    if node.target is aten.slice.Tensor:
        _, dim, start, stop, _ = arguments_of(node)
        constant = not isinstance(start, Node) and not isinstance(stop, Node)
        return constant and bool(dim % rank)
    if node.target is aten.permute.default:
        return not arguments_of(node)[1][0] % rank
    if node.target is aten.transpose.int:
        return all(d % rank for d in arguments_of(node)[1:3])
    return False


def is_zero_pad(node: Node) -> bool:
    """A constant pad with zeros."""
    if node.target is aten.constant_pad_nd.default:
        return arguments_of(node)[2] in (0, 0.0, None)
    _, _, mode, value = arguments_of(node)
    return bool(mode == "constant") and value in (0, 0.0, None)


def slice_axis(node: Node) -> int:
    """The dimension that a slice cuts, counted without batch."""
    rank = len(node.meta["shape"]) + 1
    return int(arguments_of(node)[1] % rank) - 1


def pad_sides(node: Node) -> tuple[tuple[int, int], ...]:
    """(begin, end) for each dimension without batch; torch lists them from the last one on."""
    flat = arguments_of(node)[1]
    sides = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    rank = len(node.meta["shape"])
    return tuple(reversed(sides + [(0, 0)] * (rank - len(sides))))


def is_reshape(node: Node) -> bool:
    """An operator that changes only the shape."""
    return node.target in RESHAPES


@dataclass(frozen=True)
class ConvolutionArguments:
    """How a convolution slides: one number for each spatial dimension.

    Attributes:
        padding: on both sides.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def convolution_arguments(node: Node) -> ConvolutionArguments:
    """The arguments of a conv1d or conv2d node."""
    _, _, _, stride, padding, dilation, groups = arguments_of(node)
    rank = len(node.meta["shape"]) - 1
    return ConvolutionArguments(
        spatial(stride, rank), spatial(padding, rank), spatial(dilation, rank), groups
    )
