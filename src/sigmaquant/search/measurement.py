"""Measured losses of plans, and when one of them is smaller by more than noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.search.arrays import FloatArray

Measure = Callable[[BitPlan], float | FloatArray]
"""The measured loss of a plan, smaller is better: one figure or, better, one for each sample.

The losses of the samples, (samples,), come in the same order for every plan. Then two plans are
compared sample by sample, which tells an improvement from noise.
"""

_SURE = 2.0
"""Standard errors that a difference has to exceed: noise alone does so once in 44 times.

With 64 held-back digits, a ResNet of 10 layers at 2.2 bits and moves kept on one standard error or
none, the loss on other digits rose by a fifth while the measured one fell by half.
"""


class MeasuredOnce:
    """A measure that remembers, so that no plan is measured twice.

    Args:
        measure: what is called for a plan that is new.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._losses: dict[Hashable, FloatArray] = {}

    @property
    def count(self) -> int:
        """How many plans have been measured."""
        return len(self._losses)

    def __call__(self, plan: BitPlan) -> FloatArray:
        """The losses of the samples, (samples,), or the one figure that is known, (1,)."""
        key = _widths(plan)
        if key not in self._losses:
            self._losses[key] = np.atleast_1d(np.asarray(self._measure(plan), dtype=float))
        return self._losses[key]

    def __contains__(self, plan: BitPlan) -> bool:
        return _widths(plan) in self._losses


def finite_mean(losses: float | FloatArray) -> float | None:
    """The mean loss of the samples; None where it is not finite."""
    mean = float(np.mean(losses))
    return mean if math.isfinite(mean) else None


@dataclass(frozen=True)
class Difference:
    """By how much one plan's loss exceeds another's.

    Attributes:
        mean: over the samples; negative where it is smaller.
        standard_error: of the mean; None where the samples are not known.
    """

    mean: float
    standard_error: float | None

    @property
    def improves(self) -> bool:
        """Whether the loss is smaller, and by more than noise where that can be told."""
        return self.mean + _SURE * (self.standard_error or 0.0) < 0


def difference(losses: FloatArray, reference: FloatArray) -> Difference:
    """Compare two plans sample by sample: (samples,) each.

    The pairs share what makes a sample hard, so that the error of their difference is far smaller
    than that of either loss.
    """
    if not np.isfinite(losses).all():
        return Difference(math.inf, None)
    if not np.isfinite(reference).all():
        return Difference(-math.inf, None)
    differences = losses - reference
    count = len(differences)
    spread = float(differences.std(ddof=1)) / math.sqrt(count) if count > 1 else None
    return Difference(float(differences.mean()), spread)


def _widths(plan: BitPlan) -> Hashable:
    """What tells plans apart: their widths, not their origin."""
    return (
        tuple(sorted(plan.weight_bits.items())),
        tuple(sorted(plan.activation_bits.items())),
    )
