"""How well a network does on batches, whatever runs it: PyTorch, the integers, a runtime.

Every metric is a mean over samples, so that batches of different sizes count as they should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from sigmaquant.calibration import Batch
from sigmaquant.errors import DataError

Outputs = tuple[Tensor, ...]

Run = Callable[[tuple[Tensor, ...]], Tensor | Outputs]
"""A network: its inputs to its output, or to several."""

Metric = Callable[[Tensor, Tensor], Tensor | float]
"""(first output, target) to the mean over the batch."""

Measure = Callable[[Outputs, Batch], Tensor | float]
"""(all outputs, batch) to the mean over the batch."""

NameT = TypeVar("NameT", bound=str)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Top-1 accuracy as a fraction.

    Args:
        output: (n, classes, ...) logits or probabilities.
        target: (n, ...) class indices.
    """
    return (output.argmax(dim=1) == target).float().mean()


MetricName = Literal["accuracy", "loss"]

METRICS: dict[MetricName, Metric] = {"accuracy": accuracy, "loss": functional.cross_entropy}
"""Metrics that compare the first output with labels, by name."""


def evaluate(run: Run, batches: Iterable[Batch], metric: MetricName | Metric = "accuracy") -> float:
    """The mean of one metric over all samples.

    Args:
        run: what computes the outputs.
        batches: with labels.
        metric: "accuracy", a fraction; "loss", the cross entropy of logits in nats; or a function
            of (first output, target) that gives the mean over the batch.

    Raises:
        DataError: there are no samples, or no labels.
    """
    function = METRICS[metric] if isinstance(metric, str) else metric
    means, _ = mean_over_samples(
        run, batches, {"": lambda outputs, batch: function(outputs[0], labels_of(batch))}
    )
    return means[""]


def labels_of(batch: Batch) -> Tensor:
    """The labels; DataError where there are none."""
    if batch.target is None:
        raise DataError("this evaluation needs labels, and the data have none")
    return batch.target


def mean_over_samples(
    run: Run,
    batches: Iterable[Batch],
    measures: Mapping[NameT, Measure],
) -> tuple[dict[NameT, float], int]:
    """Several figures from one pass over the data.

    Args:
        run: what computes the outputs.
        batches: read once.
        measures: by name.

    Returns:
        The means over all samples by name, and the number of samples.

    Raises:
        DataError: there are no samples.
    """
    totals, samples = dict.fromkeys(measures, 0.0), 0
    with torch.no_grad():
        for batch in batches:
            found = run(batch.inputs)
            outputs = (found,) if isinstance(found, Tensor) else found
            for name, measure in measures.items():
                totals[name] += float(measure(outputs, batch)) * len(batch)
            samples += len(batch)
    if samples == 0:
        raise DataError("there is nothing to evaluate: the data have no samples")
    return {name: total / samples for name, total in totals.items()}, samples
