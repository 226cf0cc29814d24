"""Where the dimensions of a value are stored: TensorFlow Lite's kernels want channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Layout:
    """The order in which a value's dimensions are stored, behind the batch.

    ``axes[i]`` is the value's dimension that is stored i-th, None for a dimension of 1 that only
    the file has. (1, 2, 0) stores an image of (channels, height, width) with channels last;
    (None, 1, 0) stores a sequence of (channels, length) as an image of one row.
    """

    axes: tuple[int | None, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The value's own dimensions as they are stored."""
        return tuple(axis for axis in self.axes if axis is not None)

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The stored shape, without batch, of a value of this shape.

        >>> Layout((None, 1, 0)).shape((8, 100))
        (1, 100, 8)
        """
        return tuple(1 if axis is None else shape[axis] for axis in self.axes)

    def place(self, axis: int) -> int:
        """Where a dimension of the value is stored, counted with the batch in front."""
        return 1 + self.axes.index(axis)

    def permuted(self, order: Sequence[int]) -> Layout:
        """The layout, of the same bytes, of a value whose dimensions were reordered.

        >>> Layout((1, 2, 0)).permuted((1, 2, 0))
        Layout(axes=(0, 1, 2))
        """
        return Layout(tuple(None if axis is None else order.index(axis) for axis in self.axes))

    def moves(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The dimensions longer than 1 as they are stored: what two layouts of one order share."""
        return tuple(axis for axis in self.order if shape[axis] > 1)

    def restored(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A stored batch as (batch, *shape of the value)."""
        inserted = tuple(1 + i for i, axis in enumerate(self.axes) if axis is None)
        plain = np.squeeze(array, inserted)
        return plain.transpose(0, *(1 + self.order.index(axis) for axis in range(len(self.order))))

    def stored(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """(batch, *shape of the value) as a stored batch."""
        moved = array.transpose(0, *(1 + axis for axis in self.order))
        return moved.reshape(len(array), *self.shape(array.shape[1:]))


def plain(rank: int) -> Layout:
    """Dimensions as the network has them."""
    return Layout(tuple(range(rank)))


def channels_last(rank: int) -> Layout:
    """How convolutions and pools store a value of (channels, *spatial).

    Raises:
        ValueError: more than two spatial dimensions.
    """
    return {1: Layout((0,)), 2: Layout((None, 1, 0)), 3: Layout((1, 2, 0))}[rank]
