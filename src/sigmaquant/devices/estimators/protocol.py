"""What an estimator is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import BitPlan
from sigmaquant.layers import LayerTable


@dataclass(frozen=True)
class PlannedNetwork:
    """A network and the widths that it runs with, for tools that need no file."""

    table: LayerTable
    plan: BitPlan


class OperatorEstimate(Frozen):
    """One operator.

    Attributes:
        name: as in the file or the network.
        operator: what it does, in the tool's words.
        latency_ms: time of one sample.
        energy_uj: energy of one sample; None where the tool doesn't tell.
    """

    name: str
    operator: str
    latency_ms: float
    energy_uj: float | None = None


class Estimate(Frozen):
    """What a tool says of a file or network on a target; estimated, whatever it calls it.

    Attributes:
        tool: which one.
        target: the chip, as the tool calls it.
        latency_ms: time of one sample.
        operators: in the tool's order.
        flash_bytes: what constants take as the target stores them. This and what follows is None
            where the tool doesn't tell.
        ram_bytes: peak of the activations.
        energy_uj: energy of one sample.
    """

    tool: str
    target: str
    latency_ms: float
    operators: tuple[OperatorEstimate, ...]
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    energy_uj: float | None = None


class Estimator(Protocol):
    """A model of chips: a vendor's, or one that takes a description of any."""

    def targets(self) -> tuple[str, ...]:
        """Chips that it knows, the usual one first."""
        ...

    def estimate(
        self, model: Path | PlannedNetwork, target: str, mhz: float | None = None
    ) -> Estimate:
        """What running a model once takes on a target.

        Args:
            model: an exported file or a network with its plan, whichever the tool takes.
            target: one of ``targets``, or whatever else the tool takes as a description.
            mhz: the target's clock, where the tool doesn't know it.

        Raises:
            DeviceError: an unknown target, or a clock that is needed and not given.
            MissingExtraError: the tool is not installed.
            UnsupportedError: the tool cannot take the model, or fails on it.
        """
        ...
