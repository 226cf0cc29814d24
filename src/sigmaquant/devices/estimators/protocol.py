"""What an estimator is asked, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sigmaquant.artifact import Frozen


class OperatorEstimate(Frozen):
    """One operator of the file.

    Attributes:
        name: as in the file.
        operator: what it does, in the tool's words.
        latency_ms: time of one sample.
    """

    name: str
    operator: str
    latency_ms: float


class FileEstimate(Frozen):
    """What a tool says of a file on a target; estimated, whatever the tool's name for it.

    Attributes:
        tool: which one.
        target: the chip, as the tool calls it.
        latency_ms: time of one sample.
        flash_bytes: what the file's constants take as the target stores them.
        ram_bytes: peak of the activations.
        operators: in the tool's order.
    """

    tool: str
    target: str
    latency_ms: float
    flash_bytes: int
    ram_bytes: int
    operators: tuple[OperatorEstimate, ...]


class Estimator(Protocol):
    """A vendor's model of its chips."""

    def targets(self) -> tuple[str, ...]:
        """Chips that it knows, the usual one first."""
        ...

    def estimate(self, model: Path, target: str) -> FileEstimate:
        """Time and memory of an exported file on one of ``targets``.

        Raises:
            DeviceError: an unknown target.
            MissingExtraError: the tool is not installed.
            UnsupportedError: the tool cannot read the file, or fails on it.
        """
        ...
