"""How many values lie outside the range that a precision group was given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmaquant.quantizers import AffineRange


@dataclass(frozen=True)
class OutsideShare:
    """Sums over samples of the fraction of a sample's values that lie outside, and of its square.

    Attributes:
        first, second: the sums.
        samples: how many were seen.
    """

    first: float = 0.0
    second: float = 0.0
    samples: int = 0

    def plus(self, fractions: Tensor) -> OutsideShare:
        """With more samples: (batch,) fractions."""
        return OutsideShare(
            self.first + float(fractions.sum()),
            self.second + float(fractions.square().sum()),
            self.samples + len(fractions),
        )

    @property
    def mean(self) -> float:
        """The fraction of all values."""
        return self.first / max(1, self.samples)

    def __add__(self, other: OutsideShare) -> OutsideShare:
        return OutsideShare(
            self.first + other.first, self.second + other.second, self.samples + other.samples
        )

    @property
    def variance(self) -> float:
        """Between samples, which are independent; the values of one sample are not."""
        return max(0.0, self.second / max(1, self.samples) - self.mean**2)


def outside(values: Tensor, encoding: AffineRange) -> Tensor:
    """(batch,): how many values of each sample are clipped when they are quantized.

    Half a step beyond the ends still rounds to them, which is rounding and not clipping.
    """
    low = (-encoding.zero_point - 0.5) * encoding.scale
    high = (2**encoding.bits - 1 - encoding.zero_point + 0.5) * encoding.scale
    flat = values.unsqueeze(-1).flatten(1)
    clipped: Tensor = (flat < low) | (flat > high)
    return clipped.sum(1, dtype=torch.float64)


def standard_error(a: OutsideShare, b: OutsideShare) -> float:
    """Of the difference of two means, if both are of one kind.

    Outliers are rare: a small set without any would seem to know its mean exactly, so both are
    given the variance of all samples.
    """
    return math.sqrt((a + b).variance * (1 / a.samples + 1 / b.samples))
