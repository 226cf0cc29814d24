"""Moments of a layer's inputs about their means: all that rounding needs of them.

Rounding only needs the products of columns, X X^T, never the columns themselves. And it needs them
about the mean: whatever error a layer makes with the mean of its inputs, its bias takes up. Inputs
behind a ReLU have a large mean, so their bare products speak mostly of that.

What a few hundred samples say about thousands of pairs of inputs is partly chance. Moments between
two inputs are shrunk by the share of them that is, as the parts of the data show by how much they
differ (Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
matrices", eq. 14, towards the diagonal).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmaquant.calibration.columns import ColumnReader


@dataclass(frozen=True)
class InputMoments:
    """Means and second moments of a layer's input columns.

    Attributes:
        scatter: (groups, k, k): sum of (column - mean) (column - mean)^T.
        means: (groups, k).
        count: number of columns of each group.
        energies: (groups,) float64: sum over the parts that were added up of the squares off the
            diagonal of their covariance, each times its count.
        square_counts: sum of the squares of the parts' counts.
    """

    scatter: Tensor
    means: Tensor
    count: int
    energies: Tensor
    square_counts: int

    @classmethod
    def of(cls, columns: Tensor) -> InputMoments:
        """Of columns (groups, k, columns), as one part."""
        means, count = columns.mean(-1), columns.shape[-1]
        centred = columns - means[..., None]
        scatter = centred @ centred.mT
        # By count - 1: a part's own mean has taken up a share of what its columns scatter.
        energy = _energy(scatter / max(1, count - 1)) * count
        return cls(scatter, means, count, energy, count**2)

    def __add__(self, other: InputMoments) -> InputMoments:
        step = other.means - self.means
        return InputMoments(
            self.scatter + other.scatter + _between(step, step, self.count, other.count),
            self.means + step * (other.count / (self.count + other.count)),
            self.count + other.count,
            self.energies + other.energies,
            self.square_counts + other.square_counts,
        )

    @property
    def chance(self) -> Tensor:
        """(groups, 1, 1): the share of the squares off the diagonal that is chance, 0 .. 1.

        The variance of the mean of the parts, from how far they lie apart. 0 where nothing tells:
        of one part, or of parts of one column each.
        """
        whole = _energy(self.scatter / self.count)
        apart = (self.energies / self.count - whole).clamp_min(0)
        weight = self.square_counts / self.count**2  # 1 / parts where these are equally large
        if weight == 1:
            return torch.zeros_like(self.scatter[:, :1, :1])
        variance = apart * weight / (1 - weight)
        share = (variance / whole.clamp_min(torch.finfo(whole.dtype).tiny)).clamp_max(1)
        return share.to(self.scatter.dtype)[:, None, None]

    @property
    def shrunk(self) -> Tensor:
        """(groups, k, k): the scatter without what is chance."""
        return _shrunk(self.scatter, self.chance)


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

    @property
    def shrunk(self) -> Tensor:
        """(groups, k, k): ``cross`` without what is chance."""
        return _shrunk(self.cross, self.own.chance)


def _between(step: Tensor, other_step: Tensor, count: int, more: int) -> Tensor:
    """What the means of two parts scatter about the common one (Chan, Golub & LeVeque 1979)."""
    return step[..., :, None] * other_step[..., None, :] * (count * more / (count + more))


def _energy(scatter: Tensor) -> Tensor:
    """(groups,): the sum of the squares off the diagonal."""
    squares = scatter.square()
    return squares.sum((-2, -1)).double() - squares.diagonal(dim1=-2, dim2=-1).sum(-1).double()


def _shrunk(scatter: Tensor, chance: Tensor) -> Tensor:
    return torch.lerp(scatter, torch.diag_embed(scatter.diagonal(dim1=-2, dim2=-1)), chance)


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
