"""Second moments of a layer's inputs, as its weights see them.

A convolution is a matrix product of its weights, as rows, with patches of its input, as columns.
Rounding only needs the products of columns, X X^T, never the columns themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from sigmaquant.network.operators import CONVOLUTIONS, ConvolutionArguments, convolution_arguments

_CHUNK_ELEMENTS = 2**24  # unfolded patches held at once: 64 MiB of float32


def weight_rows(weight: Tensor, groups: int) -> Tensor:
    """A weight (out, in/groups, *kernel) as (groups, out/groups, k)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def layer_groups(node: Node) -> int:
    """Convolution groups of a layer node; 1 for linear."""
    return convolution_arguments(node).groups if node.target in CONVOLUTIONS else 1


def second_moments(node: Node, kernel: tuple[int, ...], x: Tensor, y: Tensor) -> Tensor:
    """Sum of products of the input columns of two versions of a layer's input.

    Args:
        node: the layer's call.
        kernel: its spatial kernel shape; () for linear.
        x, y: (batch, ...) inputs; the same tensor for plain second moments.

    Returns:
        (groups, k, k): sum over batch and positions of x_column y_column^T.
    """
    total: Tensor | None = None
    for columns_x, columns_y in _column_pairs(node, kernel, x, y):
        product = columns_x @ columns_y.transpose(-1, -2)
        total = product if total is None else total + product
    assert total is not None
    return total


def _column_pairs(
    node: Node, kernel: tuple[int, ...], x: Tensor, y: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    if node.target not in CONVOLUTIONS:
        flat_x, flat_y = (v.reshape(1, -1, v.shape[-1]).transpose(1, 2) for v in (x, y))
        yield flat_x, flat_y
        return
    arguments = convolution_arguments(node)
    patch_elements = x.shape[1] * math.prod(kernel) * math.prod(node.meta["shape"][1:])
    samples = max(1, _CHUNK_ELEMENTS // patch_elements)
    for start in range(0, len(x), samples):
        columns_x = _columns(x[start : start + samples], kernel, arguments)
        if y is x:
            yield columns_x, columns_x
        else:
            yield columns_x, _columns(y[start : start + samples], kernel, arguments)


def _columns(x: Tensor, kernel: tuple[int, ...], arguments: ConvolutionArguments) -> Tensor:
    """(groups, k, batch * positions): the patch under each output position."""
    stride, padding, dilation = arguments.stride, arguments.padding, arguments.dilation
    if len(kernel) == 1:
        x, kernel = x[:, :, None], (1, *kernel)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    if all(k == 1 for k in kernel) and not any(padding):
        patches = x[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        patches = F.unfold(x, kernel, dilation, padding, stride)
    batch, rows, positions = patches.shape
    grouped = patches.reshape(batch, arguments.groups, rows // arguments.groups, positions)
    return grouped.permute(1, 2, 0, 3).flatten(2)
