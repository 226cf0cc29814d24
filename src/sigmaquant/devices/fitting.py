"""Factors that bring a profile's times to what a board measures.

A software stack moves the times of one chip by more than a factor of two, but mostly of all
operators alike. So each operator kind gets a factor of its own, held to one common factor by a
ridge: with one measured row all factors are equal, and more rows let them part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# A row's error of 10 % weighs as much as a kind's departure of 30 % from the common factor: what
# stacks differ by between kinds, and what is left when they are told apart.
_RIDGE = (0.1 / 0.3) ** 2
_MOST_APART = 4.0  # a kind's factor lies within this factor of the common one
_SWEEPS = 500


@dataclass(frozen=True)
class Observation:
    """What a board measured of a network or a layer, beside what the profile predicts.

    Attributes:
        name: for messages.
        predicted: by operator kind, uncalibrated; their sum is the whole.
        measured: the board's figure, in the same unit.
    """

    name: str
    predicted: Mapping[str, float]
    measured: float

    def error(self, factors: Mapping[str, float]) -> float:
        """Relative error of the prediction with these factors."""
        total = sum(value * factors[kind] for kind, value in self.predicted.items())
        return total / self.measured - 1


def common_factor(observations: Sequence[Observation]) -> float:
    """The one factor with the least squared relative error."""
    ratios = [sum(seen.predicted.values()) / seen.measured for seen in observations]
    return sum(ratios) / sum(ratio**2 for ratio in ratios)


def fitted_factors(observations: Sequence[Observation], kinds: Sequence[str]) -> dict[str, float]:
    """A factor for each kind.

    Minimises the squared relative errors of the rows, plus the ridge times the squared relative
    distances from the common factor. A kind that no row contains keeps the common factor.

    Args:
        observations: at least one.
        kinds: every kind that occurs, and others that need a factor.
    """
    common = common_factor(observations)
    ratios = np.array(
        [[seen.predicted.get(k, 0.0) / seen.measured for k in kinds] for seen in observations]
    )
    departures = _within_bounds(common * ratios)
    return {kind: float(common * x) for kind, x in zip(kinds, departures, strict=True)}


def left_out_errors(observations: Sequence[Observation], kinds: Sequence[str]) -> tuple[float, ...]:
    """Relative error of each row, predicted from factors fitted to all others; none for one row."""
    if len(observations) < 2:
        return ()
    return tuple(
        seen.error(fitted_factors([*observations[:i], *observations[i + 1 :]], kinds))
        for i, seen in enumerate(observations)
    )


def _within_bounds(predicted: FloatArray) -> FloatArray:
    """Coordinate descent: the problem is convex, so it ends at the minimum within the bounds.

    Args:
        predicted: (rows, kinds), as shares of what was measured.

    Returns:
        x: (kinds,), near 1, with ``predicted @ x`` near 1.
    """
    x = np.ones(predicted.shape[1])
    curvature = (predicted**2).sum(axis=0) + _RIDGE
    for _ in range(_SWEEPS):
        for kind in range(len(x)):
            slope = predicted[:, kind] @ (predicted @ x - 1) + _RIDGE * (x[kind] - 1)
            x[kind] = np.clip(x[kind] - slope / curvature[kind], 1 / _MOST_APART, _MOST_APART)
    return x
