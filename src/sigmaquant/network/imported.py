"""What every importer of another framework's networks gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

Example: TypeAlias = Callable[[tuple[str, ...]], "Tensor | Sequence[Tensor]"]
"""Gives a batch of inputs for a network whose inputs are called so, in the network's order."""


@dataclass(frozen=True)
class PortNames:
    """What inputs and outputs are called where the network comes from.

    Attributes:
        inputs, outputs: in the order of the network's.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class ImportedModel:
    """A network read from a file, or made of another framework's objects.

    Attributes:
        module: computes what the network computes; its weights are parameters.
        example_inputs: zeros of the shapes that it takes.
        ports: names that exported files keep.
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    ports: PortNames
