"""What the network is fed: limits and spread of each input's channels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sigmaquant.calibration.batches import Batch


@dataclass(frozen=True)
class InputFacts:
    """One input of the network, channel by channel (its features, where it has no positions).

    Attributes:
        low, high: (channels,) limits.
        sums, squares: (channels,) of the values and their squares.
        values: number of values in each channel.
    """

    low: Tensor
    high: Tensor
    sums: Tensor
    squares: Tensor
    values: int

    @classmethod
    def of(cls, x: Tensor) -> InputFacts:
        """The facts of one batch: (batch, channels, ...), or (batch,)."""
        columns = x.double().reshape(len(x), x.shape[1] if x.dim() > 1 else 1, -1).transpose(0, 1)
        columns = columns.flatten(1)
        return cls(
            columns.amin(1),
            columns.amax(1),
            columns.sum(1),
            columns.square().sum(1),
            columns.shape[1],
        )

    def __add__(self, other: InputFacts) -> InputFacts:
        return InputFacts(
            self.low.minimum(other.low),
            self.high.maximum(other.high),
            self.sums + other.sums,
            self.squares + other.squares,
            self.values + other.values,
        )

    @property
    def limits(self) -> tuple[float, float]:
        """Of all channels."""
        return float(self.low.min()), float(self.high.max())

    @property
    def deviations(self) -> Tensor:
        """(channels,): standard deviation of each."""
        mean = self.sums / self.values
        return (self.squares / self.values - mean.square()).clamp_min(0).sqrt()

    @property
    def deviation(self) -> float:
        """Standard deviation of all values together."""
        mean = self.sums.mean() / self.values
        square = self.squares.mean() / self.values
        return float((square - mean**2).clamp_min(0).sqrt())

    @property
    def constant(self) -> Tensor:
        """(channels,): whether it never changes."""
        return self.low == self.high


def input_facts(batch: Batch) -> tuple[InputFacts | None, ...]:
    """The facts of each input; None for one that holds indices, such as tokens."""
    return tuple(InputFacts.of(x) if x.is_floating_point() else None for x in batch.inputs)


def summed(
    a: tuple[InputFacts | None, ...], b: tuple[InputFacts | None, ...]
) -> tuple[InputFacts | None, ...]:
    """Input by input."""
    return tuple(None if x is None or y is None else x + y for x, y in zip(a, b, strict=True))
