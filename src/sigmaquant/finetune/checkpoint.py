"""Training state on disk, so that a killed run goes on at the epoch it had reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigmaquant.artifact import written_atomically
from sigmaquant.errors import ArtifactError


@dataclass
class TrainingState:
    """Where training stands after some epochs.

    Attributes:
        inputs: hash of everything that determines the run.
        epoch: epochs done.
        current: the network's state.
        optimizer: the optimizer's state.
        average: the weight average's state.
        best: the best network state so far.
        best_loss: its loss on the held-back data.
    """

    inputs: str
    epoch: int
    current: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Any]
    best: dict[str, Tensor]
    best_loss: float

    def save(self, path: Path) -> None:
        """Write the state; the file appears whole or not at all."""
        with written_atomically(path) as temporary:
            torch.save(vars(self), temporary)


def load_state(path: Path | None, inputs: str) -> TrainingState | None:
    """The state that a killed run of the same training left, or None.

    Raises:
        ArtifactError: the file is there but damaged.
    """
    if path is None or not path.exists():
        return None
    try:
        state = TrainingState(**torch.load(path, weights_only=True))
    except Exception as error:
        raise ArtifactError(f"{path}: damaged training state; delete it: {error}") from error
    return state if state.inputs == inputs else None
