"""The default loss: how far the outputs have moved from the float network's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmaquant.calibration import Batch
from sigmaquant.errors import ConfigError, ModelError

Outputs = tuple[Tensor, ...]
View = Callable[[Outputs, Outputs], Outputs]
"""From the network's outputs, and the float network's on the same samples, to what is compared."""


@dataclass(frozen=True)
class Distillation:
    """The divergence of what a function makes of the outputs, in place of the outputs themselves.

    For networks whose outputs are not alike: of a detector's boxes only those count in which it
    sees something, and scores near 0 and 1 move less than their logits. The function is applied to
    the float network's outputs too, and may take its weights from them:

    >>> def boxes_that_count(outputs, reference):
    ...     boxes, scores = outputs
    ...     return boxes * reference[1], scores
    >>> loss = Distillation(boxes_that_count)  # for optimize(..., loss=loss)
    >>> loss_name(loss)
    'divergence of boxes_that_count'

    Attributes:
        view: differentiable; see ``View``.
    """

    view: View

    def seen(self, reference: Outputs, outputs: Outputs) -> tuple[Outputs, Outputs]:
        """What is compared with what."""
        return self.view(reference, reference), self.view(outputs, reference)


def as_values(outputs: Outputs, reference: Outputs) -> Outputs:
    """The view of a network whose output is a row of measured values and not of class scores.

    ``divergence`` takes any (batch, n) output for class scores, because nothing in it tells. An
    autoencoder or a regressor of several values wants ``Distillation(as_values)``: squared errors.

    Args:
        outputs: of the network.
        reference: the float network's, not needed.
    """
    return tuple(each[:, None] if is_class_score(each) else each for each in outputs)


LabelLoss = Callable[[Outputs, Tensor | None], Tensor]
"""From the network's outputs and a batch's target to a scalar, the mean over the batch."""

UserLoss = LabelLoss | Distillation
"""What a user gives in place of the divergence of the outputs."""

Rises = dict[str, dict[int, Tensor]]
"""Loss rises of one batch by layer and width: (samples,) each."""

_PROBABILITY_TOLERANCE = 1e-3
_SMALLEST_PROBABILITY = 1e-12


def divergence(reference: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
    """What each sample lost, summed over the outputs: (batch,).

    A class score output (batch, classes) counts with KL(reference || output) in nats; any other
    with its squared error relative to the reference's mean square.

    Raises:
        ModelError: no output is a floating-point tensor.
    """
    pairs = zip(reference, outputs, strict=True)
    losses = [_one(a, b) for a, b in pairs if a.is_floating_point()]
    if not losses:
        raise ModelError(
            "no output of the network is a floating-point tensor, so nothing tells how far it has "
            "moved; capture the network without its final argmax or comparison"
        )
    return torch.stack(losses).sum(0)


def is_class_score(output: Tensor) -> bool:
    """Whether an output is one row of class scores a sample."""
    return output.dim() == 2 and output.shape[1] > 1


def _one(reference: Tensor, output: Tensor) -> Tensor:
    if is_class_score(reference):
        p, q = log_probabilities(reference), log_probabilities(output)
        return (p.exp() * (p - q)).sum(1).clamp_min(0)
    error = (output - reference).square().reshape(len(output), -1).mean(1)
    return error / reference.square().mean().clamp_min(torch.finfo(torch.float32).tiny)


def log_probabilities(scores: Tensor) -> Tensor:
    """Log-probabilities of class scores, which may be logits or probabilities already."""
    if _is_distribution(scores):
        return log_of(scores)
    return torch.log_softmax(scores, dim=1)


def log_of(probabilities: Tensor) -> Tensor:
    """Logarithms, kept finite where a probability is 0."""
    return probabilities.clamp_min(_SMALLEST_PROBABILITY).log()


def _is_distribution(scores: Tensor) -> bool:
    sums_to_one = (scores.sum(1) - 1).abs().max() < _PROBABILITY_TOLERANCE
    return bool(scores.min() >= 0) and bool(sums_to_one)


def loss_name(loss: UserLoss | None) -> str:
    """What results and reports call the loss; losses of one name count as the same."""
    if loss is None:
        return "divergence"
    if isinstance(loss, Distillation):
        return f"divergence of {_name_of(loss.view)}"
    return _name_of(loss)


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def known_by_sample(loss: UserLoss | None) -> bool:
    """Whether the loss of each sample is known, and not only a batch's mean."""
    return loss is None or isinstance(loss, Distillation)


def sample_losses(
    reference: Outputs, outputs: Outputs, batch: Batch, loss: UserLoss | None
) -> Tensor:
    """The loss of each sample; a user's loss gives its batch mean to each of them.

    Raises:
        ConfigError: a user's loss that is no scalar.
    """
    if loss is None:
        return divergence(reference, outputs)
    if isinstance(loss, Distillation):
        return divergence(*loss.seen(reference, outputs))
    return batch_loss(loss, outputs, batch).detach().expand(len(batch))


def training_loss(
    reference: Outputs, outputs: Outputs, batch: Batch, loss: UserLoss | None
) -> Tensor:
    """What fine-tuning minimises, the mean over a batch: the divergence, and a loss of labels.

    Raises:
        ConfigError: a user's loss that is no scalar.
    """
    if isinstance(loss, Distillation):
        return divergence(*loss.seen(reference, outputs)).mean()
    objective = divergence(reference, outputs).mean()
    return objective if loss is None else objective + batch_loss(loss, outputs, batch)


def batch_loss(loss: LabelLoss, outputs: Outputs, batch: Batch) -> Tensor:
    """A user's loss of one batch.

    Raises:
        ConfigError: it is no scalar.
    """
    found = loss(outputs, batch.target)
    if found.numel() != 1:
        raise ConfigError(
            f"the loss {loss_name(loss)} gave a tensor of shape {tuple(found.shape)} for "
            f"{len(batch)} samples; it has to give a scalar, such as the mean over the batch"
        )
    return found.reshape(())
