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

    @classmethod
    def of(cls, rises: Rises) -> Totals:
        """The totals of some samples."""
        return cls(first=_summed(rises, lambda values: values), second=_summed(rises, torch.square))

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            first=_added(self.first, other.first), second=_added(self.second, other.second)
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

    @classmethod
    def of(cls, seen: BatchRises, inputs: str) -> Sums:
        """The sums of one batch."""
        return cls(
            inputs=inputs,
            batches=1,
            samples=len(seen.float_losses),
            independent=seen.independent,
            weights=Totals.of(seen.weights),
            activations=Totals.of(seen.activations),
            float_loss=float(seen.float_losses.double().sum()),
        )

    def __add__(self, other: Sums) -> Sums:
        """The sums of the batches of both, which belong to the same work."""
        assert self.inputs == other.inputs
        return Sums(
            inputs=self.inputs,
            batches=self.batches + other.batches,
            samples=self.samples + other.samples,
            independent=self.independent + other.independent,
            weights=self.weights + other.weights,
            activations=self.activations + other.activations,
            float_loss=self.float_loss + other.float_loss,
        )


_ByWidth = dict[str, dict[int, float]]


def _summed(rises: Rises, of: Callable[[Tensor], Tensor]) -> _ByWidth:
    return {
        name: {bits: float(of(values.double()).sum()) for bits, values in by_width.items()}
        for name, by_width in rises.items()
    }


def _added(sums: _ByWidth, more: _ByWidth) -> _ByWidth:
    return {
        name: {bits: sums.get(name, {}).get(bits, 0.0) + total for bits, total in by_width.items()}
        for name, by_width in more.items()
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
