"""Moments of a layer's inputs: all that rounding needs of them.

Rounding only needs the products of columns, X X^T, never the columns themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmaquant.calibration.columns import ColumnReader


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
    def means(self) -> Tensor:
        """(groups, k)."""
        return self.sums / self.count


def input_moments(reader: ColumnReader, x: Tensor) -> InputMoments:
    """Moments of one batch of a layer's inputs, (batch, ...)."""
    parts = [
        InputMoments(columns @ columns.mT, columns.sum(-1), columns.shape[-1])
        for (columns,) in reader.chunks(x)
    ]
    return sum(parts[1:], parts[0])


def paired_moments(
    reader: ColumnReader, pairs: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Moments of a layer's inputs x' against what they should be, x.

    Args:
        reader: of the layer.
        pairs: (x, x') of each batch.

    Returns:
        The sums of x x'^T and of x' x'^T over the columns: (groups, k, k) each.
    """
    cross, own = torch.zeros(()), torch.zeros(())
    for exact, real in pairs:
        for wanted, given in reader.chunks(exact, real):
            cross = cross + wanted @ given.mT
            own = own + given @ given.mT
    return cross, own
