"""What is minimised: the divergence from the float network, its features, and the user's loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sigmaquant.calibration import Batch, samples_of
from sigmaquant.divergence import Outputs, UserLoss, training_loss
from sigmaquant.finetune.features import Features, feature_distance
from sigmaquant.finetune.precision import trains_in_bfloat16
from sigmaquant.finetune.recipe import Recipe
from sigmaquant.network import Network
from sigmaquant.network.runner import flatten, run_float
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.ranks import SINGLE, Ranks


class Objective:
    """The loss that training minimises.

    Args:
        network: the float network, the teacher.
        student: the network in training.
        recipe: how to train.
        loss: the user's own, added to the distillation, or None.
    """

    def __init__(
        self,
        network: Network,
        student: QuantizedNetwork,
        recipe: Recipe,
        loss: UserLoss | None = None,
    ) -> None:
        self._teacher = network.runner()
        self._student = student
        self._loss = loss
        self._features = Features(network, student)
        self._feature_weight = recipe.feature_weight
        self._bfloat16 = trains_in_bfloat16(recipe.precision)

    def __call__(self, batch: Batch) -> Tensor:
        """The mean over a batch, to be differentiated: ()."""
        if not self._feature_weight:
            reference = self.reference(batch)
            with self._precision():
                outputs = self._outputs(batch)
            return self._distance(batch, reference, outputs)
        reference, exact = self._features.reference(self._teacher, batch.inputs)
        with self._precision(), self._features.seen() as values:
            outputs = self._outputs(batch)
        features = feature_distance(exact, values)
        return self._distance(batch, reference, outputs) + self._feature_weight * features

    def reference(self, batch: Batch) -> Outputs:
        """What the float network answers."""
        return run_float(self._teacher, batch.inputs)

    def judged(self, batch: Batch, reference: Outputs) -> Tensor:
        """The mean over a batch whose reference is known, of outputs alone, in float32: ()."""
        return self._distance(batch, reference, self._outputs(batch))

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16)

    def _outputs(self, batch: Batch) -> Outputs:
        return tuple(flatten(self._student(*batch.inputs)))

    def _distance(self, batch: Batch, reference: Outputs, outputs: Outputs) -> Tensor:
        exact = tuple(x.float() if x.is_floating_point() else x for x in outputs)
        return training_loss(reference, exact, batch, self._loss)


class HeldBack:
    """Samples that judge training, with what the float network answers on them.

    Args:
        objective: of the training.
        batches: the samples.
        ranks: share the batches.
    """

    def __init__(
        self, objective: Objective, batches: Sequence[Batch], ranks: Ranks = SINGLE
    ) -> None:
        self._objective = objective
        self._batches = batches
        self._ranks = ranks
        self._own = batches[ranks.index :: ranks.count]
        self._references = [objective.reference(batch) for batch in self._own]

    def loss(self) -> float:
        """The mean over the samples as the student stands; infinite where it is no number."""
        shares, count = self._ranks.together(self._own_losses), self._ranks.count
        losses = [shares[i % count][i // count] for i in range(len(self._batches))]
        mean = sum(losses) / samples_of(self._batches)
        return mean if math.isfinite(mean) else math.inf

    def _own_losses(self) -> list[float]:
        """The sum over the samples of each batch of this rank."""
        with torch.no_grad():
            return [
                float(self._objective.judged(batch, reference)) * len(batch)
                for batch, reference in zip(self._own, self._references, strict=True)
            ]
