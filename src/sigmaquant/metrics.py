"""How well a network does on labelled batches, whatever runs it: PyTorch, the integers, a runtime.

Every metric is a mean over samples, so that batches of different sizes count as they should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from sigmaquant.calibration import Batch
from sigmaquant.errors import DataError

Run = Callable[[tuple[Tensor, ...]], Tensor | tuple[Tensor, ...]]
"""A network: its inputs to its output, or to several of which the first is judged."""

Metric = Callable[[Tensor, Tensor], Tensor | float]
"""(output, target) to the mean over the batch."""


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Top-1 accuracy as a fraction.

    Args:
        output: (n, classes, ...) logits or probabilities.
        target: (n, ...) class indices.
    """
    return (output.argmax(dim=1) == target).float().mean()


METRICS: dict[str, Metric] = {"accuracy": accuracy, "loss": functional.cross_entropy}


def evaluate(run: Run, batches: Iterable[Batch], metric: str | Metric = "accuracy") -> float:
    """The metric's mean over all samples.

    Args:
        run: what computes the outputs.
        batches: with targets.
        metric: "accuracy", a fraction; "loss", the cross entropy in nats; or a function of
            (output, target) that gives the mean over the batch.

    Raises:
        DataError: no samples or no labels, or labels that do not fit the output.
    """
    function = METRICS[metric] if isinstance(metric, str) else metric
    return _mean(batches, lambda batch: function(_first(run(batch.inputs)), _target(batch)))


def divergence(run: Run, reference: Run, batches: Iterable[Batch]) -> float:
    """Mean KL divergence, in nats a sample, of the outputs from the reference's; needs no labels.

    Both outputs are logits of (n, classes, ...).
    """

    def of_batch(batch: Batch) -> Tensor:
        output = functional.log_softmax(_first(run(batch.inputs)), dim=1)
        expected = functional.log_softmax(_first(reference(batch.inputs)), dim=1)
        return functional.kl_div(output, expected, reduction="sum", log_target=True) / len(output)

    return _mean(batches, of_batch)


def _mean(batches: Iterable[Batch], value: Callable[[Batch], Tensor | float]) -> float:
    """Mean over batches, each weighted by its samples."""
    total, samples = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            count = len(batch.inputs[0])
            total += float(value(batch)) * count
            samples += count
    if samples == 0:
        raise DataError("there is nothing to evaluate: the data have no samples")
    return total / samples


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _target(batch: Batch) -> Tensor:
    if batch.target is None:
        raise DataError("evaluation needs labels, and these data have none")
    return batch.target
