"""Moments of a layer's inputs about their means: all that rounding needs of them.

Rounding only needs the products of columns, X X^T, never the columns themselves. And it needs them
about the mean: whatever error a layer makes with the mean of its inputs, its bias takes up. Inputs
behind a ReLU have a large mean, so their bare products speak mostly of that.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from sigmaquant.calibration.columns import ColumnReader


@dataclass(frozen=True)
class InputMoments:
    """Means and second moments of a layer's input columns.

    Attributes:
        scatter: (groups, k, k): sum of (column - mean) (column - mean)^T.
        means: (groups, k).
        count: number of columns of each group.
    """

    scatter: Tensor
    means: Tensor
    count: int

    @classmethod
    def of(cls, columns: Tensor) -> InputMoments:
        """Of columns (groups, k, columns)."""
        means = columns.mean(-1)
        centred = columns - means[..., None]
        return cls(centred @ centred.mT, means, columns.shape[-1])

    def __add__(self, other: InputMoments) -> InputMoments:
        step = other.means - self.means
        return InputMoments(
            self.scatter + other.scatter + _between(step, step, self.count, other.count),
            self.means + step * (other.count / (self.count + other.count)),
            self.count + other.count,
        )


@dataclass(frozen=True)
class PairedMoments:
    """Moments of a layer's inputs x' and of what they should be, x.

    Attributes:
        cross: (groups, k, k): sum of (x - mean x) (x' - mean x')^T.
        exact_means: (groups, k), of x.
        own: of x'.
    """

    cross: Tensor
    exact_means: Tensor
    own: InputMoments

    @classmethod
    def of(cls, exact: Tensor, real: Tensor) -> PairedMoments:
        """Of columns x and x', (groups, k, columns) each."""
        own, means = InputMoments.of(real), exact.mean(-1)
        cross = (exact - means[..., None]) @ (real - own.means[..., None]).mT
        return cls(cross, means, own)

    def __add__(self, other: PairedMoments) -> PairedMoments:
        count, more = self.own.count, other.own.count
        step = other.exact_means - self.exact_means
        between = _between(step, other.own.means - self.own.means, count, more)
        return PairedMoments(
            self.cross + other.cross + between,
            self.exact_means + step * (more / (count + more)),
            self.own + other.own,
        )


def _between(step: Tensor, other_step: Tensor, count: int, more: int) -> Tensor:
    """What the means of two parts scatter about the common one (Chan, Golub & LeVeque 1979)."""
    return step[..., :, None] * other_step[..., None, :] * (count * more / (count + more))


def input_moments(reader: ColumnReader, x: Tensor) -> InputMoments:
    """Moments of one batch of a layer's inputs, (batch, ...)."""
    return functools.reduce(
        operator.add, (InputMoments.of(columns) for (columns,) in reader.chunks(x))
    )


def paired_moments(reader: ColumnReader, pairs: Iterable[tuple[Tensor, Tensor]]) -> PairedMoments:
    """Moments of a layer's inputs x' against what they should be, x.

    Args:
        reader: of the layer.
        pairs: (x, x') of each batch.
    """
    parts = (
        PairedMoments.of(wanted, given)
        for exact, real in pairs
        for wanted, given in reader.chunks(exact, real)
    )
    return functools.reduce(operator.add, parts)
