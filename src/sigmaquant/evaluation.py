"""The quality of a network in each of its states, on the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from sigmaquant.artifact import Artifact
from sigmaquant.calibration import Batch
from sigmaquant.divergence import divergence, log_of
from sigmaquant.errors import DataError
from sigmaquant.export.formats import format_named
from sigmaquant.metrics import (
    METRICS,
    Measure,
    Metric,
    MetricName,
    Outputs,
    Run,
    labels_of,
    mean_over_samples,
)
from sigmaquant.network import Network
from sigmaquant.network.outputs import gives_probabilities
from sigmaquant.network.runner import flatten
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.report.model import Quality, Stage


class Evaluation(Artifact):
    """What was measured, one entry a state and metric."""

    quality: tuple[Quality, ...]

    @property
    def loss(self) -> str:
        """Which loss it is: labels, which give an accuracy, also give the cross entropy."""
        labelled = any(row.metric == "accuracy" for row in self.quality)
        return "cross entropy" if labelled else "divergence"


def float_run(network: Network) -> Run:
    """The float network."""
    return lambda inputs: network(*inputs)


def quantized_run(quantized: QuantizedNetwork) -> Run:
    """A quantized network in PyTorch."""
    return lambda inputs: tuple(flatten(quantized(*inputs)))


def exported_run(path: Path, file_format: str) -> Run:
    """An exported file in its format's runtime.

    Raises:
        ConfigError: an unknown format.
        MissingExtraError: the runtime is not installed.
    """
    runtime = format_named(file_format).open(path)

    def run(inputs: tuple[Tensor, ...]) -> Outputs:
        outputs = runtime(*(tensor.numpy() for tensor in inputs))
        return tuple(torch.from_numpy(output) for output in outputs)

    return run


def evaluate_states(
    network: Network, runs: Mapping[Stage, Run], batches: Callable[[], Iterable[Batch]]
) -> Evaluation:
    """Accuracy and cross entropy where there are class labels, else the loss against float.

    Args:
        network: the float network.
        runs: what computes the outputs of each state.
        batches: reads the data from the start.

    Raises:
        DataError: no samples, or labels that name no class of the network.
    """
    quality: list[Quality] = []
    measures = _measures(network, batches)
    for stage, run in runs.items():
        means, samples = mean_over_samples(run, batches(), measures)
        quality += [
            Quality(stage=stage, metric=metric, value=value, samples=samples)
            for metric, value in means.items()
        ]
    return Evaluation(quality=tuple(quality))


def has_class_labels(network: Network, batches: Iterable[Batch]) -> bool:
    """Whether the labels are classes of the network's first output.

    Raises:
        DataError: there are no data, or labels of classes that the network does not have.
    """
    batch = next(iter(batches), None)
    if batch is None:
        raise DataError("the evaluation data have no batch; check their source and filters")
    if batch.target is None or batch.target.is_floating_point():
        return False
    output, target = network(*batch.inputs)[0], batch.target
    if output.dim() < 2 or target.shape != (len(output), *output.shape[2:]):
        return False
    if int(target.max()) >= output.shape[1] or int(target.min()) < 0:
        raise DataError(
            f"the labels go from {int(target.min())} to {int(target.max())}, but the network has "
            f"{output.shape[1]} classes, counted from 0"
        )
    return True


def _measures(
    network: Network, batches: Callable[[], Iterable[Batch]]
) -> dict[MetricName, Measure]:
    if has_class_labels(network, batches()):
        metrics = dict(METRICS)
        if gives_probabilities(network):
            metrics["loss"] = cross_entropy_of_probabilities
        return {name: _by_labels(metric) for name, metric in metrics.items()}
    return {"loss": lambda outputs, batch: divergence(network(*batch.inputs), outputs).mean()}


def cross_entropy_of_probabilities(output: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats, of what comes out of a softmax.

    Args:
        output: (n, classes, ...) probabilities; an integer file may round them to 0.
        target: (n, ...) class indices.
    """
    return functional.nll_loss(log_of(output), target)


def _by_labels(metric: Metric) -> Measure:
    return lambda outputs, batch: metric(outputs[0], labels_of(batch))
