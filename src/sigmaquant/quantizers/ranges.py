"""Choosing an activation's range: minimum squared error over clipped candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sigmaquant.quantizers.affine import AffineRange

_BINS = 2048
_FRACTIONS = tuple(1.0 - 0.02 * i for i in range(45))  # clip to 100 % .. 12 % of the range


@dataclass
class Histogram:
    """Counts of values between fixed limits; values outside fall into the outer bins.

    Attributes:
        low, high: the limits, which hold zero.
        counts: (bins,).
        seen: what the only reader makes of a value, such as SiLU; None where values count as such.
    """

    low: float
    high: float
    counts: Tensor = field(default_factory=lambda: torch.zeros(_BINS, dtype=torch.float64))
    seen: Callable[[Tensor], Tensor] | None = None

    def add(self, values: Tensor) -> None:
        """Count the values of a tensor of any shape."""
        clipped = values.detach().float().clamp(self.low, self.high)
        self.counts += torch.histc(clipped, bins=_BINS, min=self.low, max=self.high).double()

    def centers(self) -> Tensor:
        """(bins,): the middle of each bin."""
        width = (self.high - self.low) / _BINS
        return self.low + (torch.arange(_BINS, dtype=torch.float64) + 0.5) * width


def best_range(histogram: Histogram, bits: int) -> AffineRange:
    """The encoding with the least squared error among clipped versions of the full range.

    The error is that of what the reader sees: SiLU makes nothing of values far below zero, so a
    range need not hold them. Both ends are clipped one after the other: first the one that reaches
    further.
    """
    values, counts = histogram.centers(), histogram.counts
    low, high = histogram.low, histogram.high
    seen = histogram.seen or torch.nn.Identity()
    wanted = seen(values)

    def error(candidate: AffineRange) -> float:
        top = 2**candidate.bits - 1
        q = torch.clamp(torch.round(values / candidate.scale) + candidate.zero_point, 0, top)
        real = (q - candidate.zero_point) * candidate.scale
        return float(((seen(real) - wanted) ** 2 * counts).sum())

    def clip(low: float, high: float, upper: bool) -> tuple[float, float]:
        ends = [(low, high * f) if upper else (low * f, high) for f in _FRACTIONS]
        return min(ends, key=lambda end: error(AffineRange.covering(end[0], end[1], bits)))

    upper_first = high >= -low
    for upper in (upper_first, not upper_first):
        low, high = clip(low, high, upper)
    return AffineRange.covering(low, high, bits)
