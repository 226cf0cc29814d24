"""The files between the benchmark and a tool's own environment: tasks in, answers out."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.rivals.workers.networks import BUILDERS

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
ACTIVATION_BITS = 8
_EVALUATION_BATCH = 100  # larger ones leave the caches: 500 take twice the time

Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Samples:
    """Inputs with labels.

    Attributes:
        inputs: (n, *input_shape) float32.
        labels: (n,) class indices.
    """

    inputs: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def load(cls, path: str | Path) -> Samples:
        """What ``save`` wrote."""
        with np.load(path) as file:
            return cls(torch.from_numpy(file["inputs"]), torch.from_numpy(file["labels"]))

    def save(self, path: Path) -> None:
        """Write both arrays as ``.npz``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, inputs=self.inputs.numpy(), labels=self.labels.numpy())

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, indices: torch.Tensor) -> Samples:
        """The samples at these indices, in their order."""
        return Samples(self.inputs[indices], self.labels[indices])

    def first(self, count: int | None) -> Samples:
        """The first ``count``, or all."""
        return Samples(self.inputs[:count], self.labels[:count])

    def batches(self, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Consecutive parts of at most that many samples."""
        pairs = zip(self.inputs.split(size), self.labels.split(size), strict=True)
        return list(pairs)


@dataclass(frozen=True)
class Task:
    """What a tool is asked for one draw of the calibration images.

    Attributes:
        network: a key of ``BUILDERS``.
        weights: its parameters, BatchNorm folded (safetensors).
        calibration: samples to score and calibrate with (npz).
        test: samples to report on (npz).
        budgets_bits: bits a weight, on average over the weights of all layers.
        answers: folder for one file a budget.
        loss_factor: what a tool that scores by a loss multiplies it by.
    """

    network: str
    weights: str
    calibration: str
    test: str
    budgets_bits: tuple[float, ...]
    answers: str
    loss_factor: float = 1.0

    @classmethod
    def load(cls, path: Path) -> Task:
        """Read a task file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**content, "budgets_bits": tuple(content["budgets_bits"])})

    def save(self, path: Path) -> None:
        """Write a task file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def module(self) -> nn.Module:
        """The float network with its weights, in eval mode."""
        module = BUILDERS[self.network]()
        module.load_state_dict(load_file(self.weights))
        return module.eval()


@dataclass(frozen=True)
class Answer:
    """What a tool found for one budget.

    Attributes:
        budget_bits: the budget; None from a tool that takes none.
        weight_bits: width of each layer.
        accuracy: part of the test samples that the tool's own quantized network gets right.
        nll_nats: its mean negative log-likelihood of the test labels.
        float_nll_nats: the float network's on the calibration samples; it shows that network and
            samples are those of the other tools.
        seconds: wall time by stage; "allocate" is scores and solver.
    """

    budget_bits: float | None
    weight_bits: dict[str, int]
    accuracy: float
    nll_nats: float
    float_nll_nats: float
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Answer:
        """Read an answer file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, folder: Path) -> Path:
        """Write the answer, whole or not at all; return its path."""
        path = answer_path(folder, self.budget_bits)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        return temporary.replace(path)


def answer_path(folder: Path, budget_bits: float | None) -> Path:
    """Where the answer for a budget lies."""
    return folder / ("answer.json" if budget_bits is None else f"answer-{budget_bits:g}.json")


def weight_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The layers whose weights count: convolutions and linear layers."""
    kinds = (nn.Conv2d, nn.Linear)
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}


@torch.no_grad()
def accuracy_and_nll(forward: Forward, samples: Samples) -> tuple[float, float]:
    """Part of the samples that are right, and their mean negative log-likelihood."""
    right = nats = 0.0
    for inputs, labels in samples.batches(_EVALUATION_BATCH):
        logits = forward(inputs)
        right += float((logits.argmax(1) == labels).sum())
        nats += float(nn.functional.cross_entropy(logits.double(), labels, reduction="sum"))
    return right / len(samples), nats / len(samples)


class Clock:
    """Seconds by stage; a stage that runs again adds to its time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time to that stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
