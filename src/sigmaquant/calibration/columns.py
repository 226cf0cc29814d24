"""A layer's inputs as its weights see them: the columns of a matrix product.

A convolution is a matrix product of its weights, as rows, with patches of its input, as columns.
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
# ResNet-20 and ResNet-8 at 2 and 3 bits came out as with all columns; 8 an element were too few.
_COLUMNS_PER_ELEMENT = 64
_LEAST_COLUMNS = 2**11


def weight_rows(weight: Tensor, groups: int) -> Tensor:
    """A weight (out, in/groups, *kernel) as (groups, out/groups, k)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def layer_groups(node: Node) -> int:
    """Convolution groups of a layer node; 1 for linear."""
    return convolution_arguments(node).groups if node.target in CONVOLUTIONS else 1


def layer_positions(node: Node) -> int:
    """Output positions of a layer node in one sample: so many columns it reads."""
    shape = node.meta["shape"]
    return math.prod(shape[1:] if node.target in CONVOLUTIONS else shape[:-1])


class ColumnReader:
    """Reads the columns of one layer: all, or a fair sample where there are very many.

    Neighbouring patches overlap and tell nearly the same. Moments of k elements are settled by
    some tens of k columns; to read millions is most of the work where images are large.

    Args:
        node: the layer's call.
        weight_shape: (out, in/groups, *kernel), or (out, in) for linear.
        samples: how many samples will be read in all.

    Attributes:
        columns: how many columns of each group that comes to, about.
    """

    def __init__(self, node: Node, weight_shape: tuple[int, ...], samples: int) -> None:
        self._node, self._kernel = node, weight_shape[2:]
        self._elements = math.prod(weight_shape[1:])
        wanted = max(_LEAST_COLUMNS, _COLUMNS_PER_ELEMENT * self._elements)
        self.columns = min(wanted, samples * layer_positions(node))
        self._share = self.columns / (samples * layer_positions(node))
        self._random = torch.Generator().manual_seed(0)

    def chunks(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Columns of some samples, from the same places of each tensor.

        Args:
            tensors: (batch, ...) inputs of the layer, all of one shape.

        Yields:
            (groups, k, columns) for each tensor, in parts of bounded size.
        """
        chunk = max(1, _CHUNK_ELEMENTS // (layer_groups(self._node) * self._elements))
        positions = layer_positions(self._node)
        if self._share == 1.0:
            for parts in zip(*(x.split(max(1, chunk // positions)) for x in tensors), strict=True):
                columns = (input_columns(self._node, self._kernel, x) for x in parts)
                yield tuple(c.permute(1, 2, 0, 3).flatten(2) for c in columns)
            return
        places = len(tensors[0]) * positions
        count = max(1, round(places * self._share))
        picked = torch.randint(places, (count,), generator=self._random).sort().values
        for part in picked.split(chunk):
            yield tuple(picked_columns(self._node, self._kernel, x, part) for x in tensors)


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
    x, kernel, how = as_2d(node, kernel, x)
    if math.prod(kernel) == 1 and not any(how.padding):
        patches = x[:, :, :: how.stride[0], :: how.stride[1]].flatten(2)
    else:
        patches = F.unfold(x, kernel, how.dilation, how.padding, how.stride)
    grouped: Tensor = patches.unflatten(1, (how.groups, -1))
    return grouped


def picked_columns(node: Node, kernel: tuple[int, ...], x: Tensor, places: Tensor) -> Tensor:
    """Some of ``input_columns``.

    Args:
        node: the layer's call.
        kernel: its spatial kernel shape; () for linear.
        x: as in ``input_columns``.
        places: (columns,) indices into samples x positions, the sample first.

    Returns:
        (groups, k, columns).
    """
    if node.target not in CONVOLUTIONS:
        return x.reshape(-1, x.shape[-1])[places].T[None]
    rows, columns = (1, *node.meta["shape"][1:])[-2:]
    x, kernel, how = as_2d(node, kernel, x)
    bottom, right = how.padding
    x = F.pad(x, (right, right, bottom, bottom)).contiguous()
    sample, channel, row, column = x.stride()
    moved = (row * how.stride[0], column * how.stride[1])
    spread = (row * how.dilation[0], column * how.dilation[1])
    windows = x.as_strided(
        (len(x), rows, columns, x.shape[1], *kernel), (sample, *moved, channel, *spread)
    )
    positions = rows * columns
    picked = windows[places // positions, places % positions // columns, places % columns]
    return picked.reshape(len(places), how.groups, -1).permute(1, 2, 0)


def as_2d(
    node: Node, kernel: tuple[int, ...], x: Tensor
) -> tuple[Tensor, tuple[int, ...], ConvolutionArguments]:
    """A convolution's input, kernel and arguments; in one dimension, as an image of one row."""
    how = convolution_arguments(node)
    if len(kernel) == 2:
        return x, kernel, how
    flat = ConvolutionArguments((1, *how.stride), (0, *how.padding), (1, *how.dilation), how.groups)
    return x[:, :, None], (1, *kernel), flat
