"""Moments of a layer's inputs, as its weights see them.

A convolution is a matrix product of its weights, as rows, with patches of its input, as columns.
Rounding only needs the products of columns, X X^T, never the columns themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from sigmaquant.network.operators import CONVOLUTIONS, convolution_arguments

_CHUNK_ELEMENTS = 2**24  # unfolded patches held at once: 64 MiB of float32


def weight_rows(weight: Tensor, groups: int) -> Tensor:
    """A weight (out, in/groups, *kernel) as (groups, out/groups, k)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def layer_groups(node: Node) -> int:
    """Convolution groups of a layer node; 1 for linear."""
    return convolution_arguments(node).groups if node.target in CONVOLUTIONS else 1


@dataclass(frozen=True)
class InputMoments:
    """First and second moments of a layer's input columns.

    Attributes:
        products: (groups, k, k): sum of column column^T.
        sums: (groups, k): sum of columns.
        count: number of columns of each group.
    """

    products: Tensor
    sums: Tensor
    count: int

    def __add__(self, other: InputMoments) -> InputMoments:
        return InputMoments(
            self.products + other.products, self.sums + other.sums, self.count + other.count
        )

    @property
    def mean_squares(self) -> Tensor:
        """(groups, k): how much each column matters."""
        return self.products.diagonal(dim1=-2, dim2=-1) / self.count

    @property
    def means(self) -> Tensor:
        """(groups, k)."""
        return self.sums / self.count


def input_moments(node: Node, kernel: tuple[int, ...], x: Tensor) -> InputMoments:
    """Moments of one batch of a layer's inputs.

    Args:
        node: the layer's call.
        kernel: its spatial kernel shape; () for linear.
        x: (batch, ...) inputs.
    """
    total: InputMoments | None = None
    for part in x.split(_samples_at_once(node, kernel, x)):
        columns = _all_columns(node, kernel, part)
        more = InputMoments(columns @ columns.mT, columns.sum(-1), columns.shape[-1])
        total = more if total is None else total + more
    assert total is not None
    return total


def paired_moments(
    node: Node, kernel: tuple[int, ...], pairs: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Moments of a layer's inputs x' against what they should be, x.

    Args:
        node: the layer's call.
        kernel: its spatial kernel shape; () for linear.
        pairs: (x, x') of each batch.

    Returns:
        The sums of x x'^T and of x' x'^T over all columns: (groups, k, k) each.
    """
    cross, own = torch.zeros(()), torch.zeros(())
    for exact, real in pairs:
        size = _samples_at_once(node, kernel, exact)
        for x, y in zip(exact.split(size), real.split(size), strict=True):
            wanted, given = _all_columns(node, kernel, x), _all_columns(node, kernel, y)
            cross = cross + wanted @ given.mT
            own = own + given @ given.mT
    return cross, own


def _all_columns(node: Node, kernel: tuple[int, ...], x: Tensor) -> Tensor:
    """(groups, k, batch * positions)."""
    return input_columns(node, kernel, x).permute(1, 2, 0, 3).flatten(2)


def _samples_at_once(node: Node, kernel: tuple[int, ...], x: Tensor) -> int:
    if node.target not in CONVOLUTIONS:
        return len(x)
    patch_elements: int = x.shape[1] * math.prod(kernel) * math.prod(node.meta["shape"][1:])
    return max(1, _CHUNK_ELEMENTS // patch_elements)


def input_columns(node: Node, kernel: tuple[int, ...], x: Tensor) -> Tensor:
    """The inputs that each output position of a layer reads.

    Args:
        node: the layer's call.
        kernel: its spatial kernel shape; () for linear.
        x: (batch, channels, *spatial), or (batch, ..., features) for linear.

    Returns:
        (batch, groups, k, positions) with k as in ``weight_rows``.
    """
    if node.target not in CONVOLUTIONS:
        return x.reshape(len(x), 1, -1, x.shape[-1]).transpose(2, 3)
    how = convolution_arguments(node)
    stride, padding, dilation = how.stride, how.padding, how.dilation
    if len(kernel) == 1:
        x, kernel = x[:, :, None], (1, *kernel)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    if math.prod(kernel) == 1 and not any(padding):
        patches = x[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        patches = F.unfold(x, kernel, dilation, padding, stride)
    grouped: Tensor = patches.unflatten(1, (how.groups, -1))
    return grouped
