"""Classes of the samples, by label or by the float network's answer, and which are missing."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from torch import Tensor

from sigmaquant.calibration.batches import Batch

RARE = 0.1
"""A class is missing where it has less than this part of its share in the other data, and of the
share that it would have if all were alike. Not none at all: some labels and answers are wrong."""


@dataclass(frozen=True)
class Classes:
    """How often each class occurs.

    Attributes:
        labels: by label; None where some batch has no class labels.
        predictions: by the float network's own answer; None where it gives no class scores.
    """

    labels: Counter[int] | None
    predictions: Counter[int] | None

    @classmethod
    def of(cls, batch: Batch, outputs: tuple[Tensor, ...]) -> Classes:
        """The classes of one batch."""
        target, scores = batch.target, outputs[0]
        labelled = target is not None and target.dim() == 1 and not target.is_floating_point()
        scored = scores.dim() == 2 and scores.shape[1] > 1
        return cls(
            labels=Counter(target.tolist()) if target is not None and labelled else None,
            predictions=Counter(scores.argmax(1).tolist()) if scored else None,
        )

    def __add__(self, other: Classes) -> Classes:
        return Classes(_sum(self.labels, other.labels), _sum(self.predictions, other.predictions))


@dataclass(frozen=True)
class MissingClasses:
    """Classes that the calibration data lack.

    Attributes:
        classes: in ascending order.
        by_labels: whether labels tell; else the float network's answers do.
        share: fraction of the other samples that belong to them.
        by_chance: fraction that a random draw of the calibration samples would miss, on average.
        deviation: standard deviation of that.
    """

    classes: tuple[int, ...]
    by_labels: bool
    share: float
    by_chance: float
    deviation: float


def missing_classes(calibration: Classes, other: Classes) -> MissingClasses | None:
    """What the calibration data lack; None where neither labels nor answers can be compared."""
    by_labels = calibration.labels is not None and other.labels is not None
    ours = calibration.labels if by_labels else calibration.predictions
    theirs = other.labels if by_labels else other.predictions
    if ours is None or theirs is None:
        return None
    samples, alike = ours.total(), 1 / len(ours.keys() | theirs.keys())
    shares = {each: count / theirs.total() for each, count in theirs.items()}
    few = {each: RARE * samples * min(share, alike) for each, share in shares.items()}
    missing = sorted(each for each in shares if ours[each] < few[each])
    chances = [(share, _chance(share * samples, few[each])) for each, share in shares.items()]
    return MissingClasses(
        classes=tuple(missing),
        by_labels=by_labels,
        share=sum(shares[each] for each in missing),
        by_chance=sum(share * chance for share, chance in chances),
        deviation=math.sqrt(sum(share**2 * chance * (1 - chance) for share, chance in chances)),
    )


def _chance(expected: float, few: float) -> float:
    """Of less than ``few`` samples where so many are expected (Poisson)."""
    counts = range(math.ceil(few))
    return sum(math.exp(k * math.log(expected) - expected - math.lgamma(k + 1)) for k in counts)


def _sum(a: Counter[int] | None, b: Counter[int] | None) -> Counter[int] | None:
    return None if a is None or b is None else a + b
