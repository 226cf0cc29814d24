"""Sums over samples from which means and standard errors follow, saved while they grow."""

from __future__ import annotations

import math
from pathlib import Path

import pydantic
from torch import Tensor

from sigmaquant.artifact import Artifact
from sigmaquant.scores import Score


class Sums(Artifact):
    """What has been seen of every (layer, width) after some batches.

    Attributes:
        inputs: hash of network, data and options, so that only the same work is resumed.
        batches: number of batches seen.
        samples: number of samples seen.
        first: sums of the loss rises, by layer and width.
        second: sums of their squares.
        float_loss: sum of the float network's loss.
    """

    inputs: str
    batches: int = 0
    samples: int = 0
    first: dict[str, dict[int, float]] = pydantic.Field(default_factory=dict)
    second: dict[str, dict[int, float]] = pydantic.Field(default_factory=dict)
    float_loss: float = 0.0

    def plus(self, rises: dict[str, dict[int, Tensor]], float_losses: Tensor) -> Sums:
        """The sums after one more batch; each tensor holds one value a sample."""
        first = {
            layer: {
                bits: self.first.get(layer, {}).get(bits, 0.0) + float(values.double().sum())
                for bits, values in by_width.items()
            }
            for layer, by_width in rises.items()
        }
        second = {
            layer: {
                bits: self.second.get(layer, {}).get(bits, 0.0)
                + float(values.double().square().sum())
                for bits, values in by_width.items()
            }
            for layer, by_width in rises.items()
        }
        return Sums(
            inputs=self.inputs,
            batches=self.batches + 1,
            samples=self.samples + len(float_losses),
            first=first,
            second=second,
            float_loss=self.float_loss + float(float_losses.double().sum()),
        )

    def scores(self) -> dict[str, dict[int, Score]]:
        """Means and standard errors."""
        return {
            layer: {
                bits: _score(total, self.second[layer][bits], self.samples)
                for bits, total in by_width.items()
            }
            for layer, by_width in self.first.items()
        }


def _score(first: float, second: float, samples: int) -> Score:
    mean = first / samples
    variance = max(0.0, second / samples - mean**2)
    return Score(rise=mean, standard_error=math.sqrt(variance / max(1, samples - 1)))


def resume(checkpoint: Path | None, inputs: str) -> Sums:
    """What a killed run of the same work had reached, or nothing."""
    if checkpoint is not None and checkpoint.exists():
        found = Sums.load(checkpoint)
        if found.inputs == inputs:
            return found
    return Sums(inputs=inputs)
