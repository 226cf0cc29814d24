"""In what order the elements of a value are stored.

The record's order is row by row (row-major). Kernels want images channels last. Between them a
reshape or a permutation is only another way to see the same memory, as long as the view can
follow it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Layout:
    """Axes that run through a value's elements in the record's order, and how far apart they lie.

    Axes of size 1 are left out and axes that lie one behind the other in memory are joined, so
    that equal orders are equal layouts.

    Attributes:
        sizes: of the axes; their product is the number of elements.
        strides: distance in memory of neighbours along each axis, in elements.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    def axes_at(self, ends: Iterable[int]) -> Layout | None:
        """The same order with axes cut at those places too, or None where that is impossible.

        Args:
            ends: products of the sizes of trailing axes of another view of the same elements.
        """
        pairs: list[tuple[int, int]] = []
        inner = 1
        cuts = sorted(set(ends))
        for size, stride in zip(reversed(self.sizes), reversed(self.strides), strict=True):
            done = 1
            for cut in [c for c in cuts if inner < c < inner * size]:
                if cut % (inner * done) or (inner * size) % cut:
                    return None
                pairs.append((cut // (inner * done), stride * done))
                done = cut // inner
            pairs.append((size // done, stride * done))
            inner *= size
        pairs.reverse()
        return Layout(tuple(n for n, _ in pairs), tuple(s for _, s in pairs))

    @property
    def ends(self) -> tuple[int, ...]:
        """Products of the sizes of the last 1, 2, ... axes."""
        return suffix_products(self.sizes)

    def strides_of(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The stride of each dimension of the shape, or None where one has several."""
        cut = self.axes_at(suffix_products(shape))
        if cut is None:
            return None
        axes = list(zip(cut.sizes, cut.strides, strict=True))
        strides = []
        for size in reversed(shape):
            if size == 1:
                strides.append(0)
            elif axes[-1][0] == size:
                strides.append(axes.pop()[1])
            else:
                return None
        return tuple(reversed(strides))


def suffix_products(sizes: Sequence[int]) -> tuple[int, ...]:
    """Products of the last 1, 2, ... sizes.

    >>> suffix_products((2, 3, 4))
    (4, 12, 24)
    """
    return tuple(accumulate(reversed(sizes), mul))


def strided(shape: Sequence[int], strides: Sequence[int]) -> Layout:
    """A layout from dimensions and their strides.

    >>> strided((2, 3, 1, 4), (12, 4, 0, 1))
    Layout(sizes=(24,), strides=(1,))
    """
    axes: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == size * stride:
            axes[-1] = (axes[-1][0] * size, stride)
        else:
            axes.append((size, stride))
    return Layout(tuple(n for n, _ in axes), tuple(s for _, s in axes))


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of the record's own order.

    >>> row_major_strides((2, 3, 4))
    (12, 4, 1)
    """
    return (*reversed(suffix_products(shape[1:])), 1)[: len(shape)]


def row_major(shape: Sequence[int]) -> Layout:
    """The record's own order."""
    return strided(shape, row_major_strides(shape))


def channels_last_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a (channels, *spatial) shape whose channels lie side by side.

    >>> channels_last_strides((8, 5, 6))
    (1, 48, 8)
    """
    channels, *spatial = shape
    return (1, *(stride * channels for stride in row_major_strides(spatial)))


def channels_last(shape: Sequence[int]) -> Layout:
    """A (channels, *spatial) shape whose channels lie side by side."""
    return strided(shape, channels_last_strides(shape))


def positions(layout: Layout) -> npt.NDArray[np.int64]:
    """The place in memory of each element, in the record's order."""
    place = np.zeros(1, np.int64)
    for size, stride in zip(layout.sizes, layout.strides, strict=True):
        place = (place[:, None] + stride * np.arange(size)).reshape(-1)
    return place


@dataclass(frozen=True)
class Order:
    """A copy from one layout to another: axis by axis, the sizes and both strides."""

    sizes: tuple[int, ...]
    source: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements that are copied."""
        return math.prod(self.sizes)


def copy_order(source: Layout, target: Layout) -> Order | None:
    """The copy between two layouts of the same elements, or None where no common axes exist."""
    ends = (*source.ends, *target.ends)
    read, write = source.axes_at(ends), target.axes_at(ends)
    if read is None or write is None:
        return None
    assert read.sizes == write.sizes, (source, target)
    return joined_order(read.sizes, read.strides, write.strides)


def joined_order(sizes: Sequence[int], source: Sequence[int], target: Sequence[int]) -> Order:
    """A copy with axes of size 1 left out and those joined that lie alike on both sides.

    >>> joined_order((2, 3, 4), (12, 4, 1), (24, 8, 2))
    Order(sizes=(24,), source=(1,), target=(2,))
    """
    axes: list[tuple[int, int, int]] = []
    for size, s, t in zip(sizes, source, target, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1:] == (size * s, size * t):
            axes[-1] = (axes[-1][0] * size, s, t)
        else:
            axes.append((size, s, t))
    axes = axes or [(1, 1, 1)]
    return Order(*(tuple(axis[i] for axis in axes) for i in range(3)))
