"""What is minimised: the divergence from the float network, and the user's loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sigmaquant.calibration import Batch, samples_of
from sigmaquant.divergence import UserLoss, training_loss
from sigmaquant.network import Network
from sigmaquant.network.runner import flatten, run_float
from sigmaquant.quantized import QuantizedNetwork


class Objective:
    """The loss that training minimises.

    Args:
        network: the float network, the teacher.
        student: the network in training.
        loss: the user's own, added to the distillation, or None.
    """

    def __init__(
        self, network: Network, student: QuantizedNetwork, loss: UserLoss | None = None
    ) -> None:
        self._teacher = network.runner()
        self._student = student
        self._loss = loss

    def __call__(self, batch: Batch) -> Tensor:
        """The mean over a batch, to be differentiated: ()."""
        return self.distance(batch, self.reference(batch))

    def reference(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the float network answers."""
        return run_float(self._teacher, batch.inputs)

    def distance(self, batch: Batch, reference: Sequence[Tensor]) -> Tensor:
        """The mean over a batch whose reference is known: ()."""
        outputs = tuple(flatten(self._student(*batch.inputs)))
        return training_loss(tuple(reference), outputs, batch, self._loss)


class HeldBack:
    """Samples that judge training, with what the float network answers on them.

    Args:
        objective: of the training.
        batches: the samples.
    """

    def __init__(self, objective: Objective, batches: Sequence[Batch]) -> None:
        self._objective = objective
        self._batches = batches
        self._references = [objective.reference(batch) for batch in batches]

    def loss(self) -> float:
        """The mean over the samples as the student stands; infinite where it is no number."""
        with torch.no_grad():
            losses = [
                float(self._objective.distance(batch, reference)) * len(batch)
                for batch, reference in zip(self._batches, self._references, strict=True)
            ]
        mean = sum(losses) / samples_of(self._batches)
        return mean if math.isfinite(mean) else math.inf
