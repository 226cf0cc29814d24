"""Sums over samples from which means and standard errors follow, saved while they grow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydantic
import torch
from torch import Tensor

from sigmaquant.artifact import Artifact, Frozen
from sigmaquant.divergence import Rises
from sigmaquant.scores import Score


@dataclass(frozen=True)
class BatchRises:
    """Loss rises of one batch: one value a sample, (samples,), for each candidate.

    Attributes:
        weights: by layer and width.
        activations: by precision group and width.
        float_losses: (samples,) the float network's losses.
        independent: how many of the values of a candidate are: 1 where a user's loss gives the
            batch one value.
    """

    weights: Rises
    activations: Rises
    float_losses: Tensor
    independent: int


class Totals(Frozen):
    """Sums of some loss rises and of their squares, by name and width."""

    first: dict[str, dict[int, float]] = pydantic.Field(default_factory=dict)
    second: dict[str, dict[int, float]] = pydantic.Field(default_factory=dict)

    def plus(self, rises: Rises) -> Totals:
        """The totals after some more samples."""
        return Totals(
            first=_added(self.first, rises, lambda values: values),
            second=_added(self.second, rises, torch.square),
        )

    def scores(self, samples: int, independent: int) -> dict[str, dict[int, Score]]:
        """Means over the samples, and standard errors from how many are independent."""
        return {
            name: {
                bits: _score(total, self.second[name][bits], samples, independent)
                for bits, total in by_width.items()
            }
            for name, by_width in self.first.items()
        }


class Sums(Artifact):
    """What has been seen of every candidate after some batches.

    Attributes:
        inputs: hash of network, data and options, so that only the same work is resumed.
        batches: number of batches seen.
        samples: number of samples seen.
        independent: how many of a candidate's loss rises are; see ``BatchRises``.
        weights: loss rises by layer.
        activations: loss rises by precision group.
        float_loss: sum of the float network's loss.
    """

    inputs: str
    batches: int = 0
    samples: int = 0
    independent: int = 0
    weights: Totals = Totals()
    activations: Totals = Totals()
    float_loss: float = 0.0

    def plus(self, seen: BatchRises) -> Sums:
        """The sums after one more batch."""
        return Sums(
            inputs=self.inputs,
            batches=self.batches + 1,
            samples=self.samples + len(seen.float_losses),
            independent=self.independent + seen.independent,
            weights=self.weights.plus(seen.weights),
            activations=self.activations.plus(seen.activations),
            float_loss=self.float_loss + float(seen.float_losses.double().sum()),
        )


def _added(
    sums: dict[str, dict[int, float]], rises: Rises, of: Callable[[Tensor], Tensor]
) -> dict[str, dict[int, float]]:
    return {
        name: {
            bits: sums.get(name, {}).get(bits, 0.0) + float(of(values.double()).sum())
            for bits, values in by_width.items()
        }
        for name, by_width in rises.items()
    }


def _score(first: float, second: float, samples: int, independent: int) -> Score:
    mean = first / samples
    variance = max(0.0, second / samples - mean**2)
    return Score(rise=mean, standard_error=math.sqrt(variance / max(1, independent - 1)))


def resume(checkpoint: Path | None, inputs: str) -> Sums:
    """What a killed run of the same work had reached, or nothing."""
    if checkpoint is not None and checkpoint.exists():
        found = Sums.load(checkpoint)
        if found.inputs == inputs:
            return found
    return Sums(inputs=inputs)
