"""A Pareto front: plans of which none is better than another in every respect, and their knee."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sigmaquant.artifact import Artifact
from sigmaquant.search.solution import Solution

_ROUNDING = 1e-9
"""How far from the chord counts as on it, in normalised axes."""


class Front(Artifact):
    """Plans from one end of a trade to the other; none is dominated by another.

    Attributes:
        device: the profile's name.
        metrics: what is traded: "rise" or cost metrics; ``points`` ascend in the first of them.
        points: the plans. Their ``limits`` are the budget, with their own costs in the traded
            metrics: within these limits no plan has a smaller first metric. "optimal" is a point
            proven to lie on the front; "unproven" is one on which the time limit ended the proof.
        knee: index of the point behind which a saving begins to cost more; None where the front
            has no bend.
        limits: the budget by metric, which all points keep.
        seconds: time to find the points.
    """

    device: str
    metrics: tuple[str, ...]
    points: tuple[Solution, ...]
    knee: int | None
    limits: dict[str, float]
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether every point is proven to lie on the front."""
        return all(point.status == "optimal" for point in self.points)

    def values(self, index: int) -> dict[str, float]:
        """The traded metrics of one point, by name."""
        point = self.points[index]
        known = {**point.totals, "rise": point.objective}
        return {metric: known[metric] for metric in self.metrics}


def knee_of(values: Sequence[Sequence[float]]) -> int | None:
    """The point farthest from the chord between the ends, on the side of smaller values.

    Das 1999 defines the knee by this distance, after each axis is scaled to run from 0 to 1; the
    chord is then the line, or with three metrics the plane, on which the values add up to 1.

    Args:
        values: (points, metrics), of which none dominates another.

    Returns:
        The point's index, the first at a tie; None where no point lies on that side.

    >>> knee_of([(0.0, 100), (0.1, 40), (0.5, 20), (1.0, 0)])
    1
    """
    points = np.asarray(values, dtype=float)
    lowest, spans = points.min(axis=0), np.ptp(points, axis=0)
    scaled = (points - lowest) / np.where(spans > 0, spans, 1.0)
    bulge = 1.0 - scaled.sum(axis=1)
    knee = int(bulge.argmax())
    return knee if len(points) > 2 and bulge[knee] > _ROUNDING else None
