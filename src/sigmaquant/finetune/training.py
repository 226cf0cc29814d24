"""``finetune``: mixed-precision quantization-aware training with distillation."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch, read_batches
from sigmaquant.calibration.batches import checked_batches
from sigmaquant.divergence import UserLoss, batch_loss, divergence, loss_name
from sigmaquant.errors import ArtifactError, ConfigError, DataError
from sigmaquant.finetune.checkpoint import TrainingState, load_state
from sigmaquant.network import Network
from sigmaquant.network.runner import flatten
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import QuantizedNetwork, quantize

_HELD_BACK = 512  # samples taken from the training data where no others are given
_SMALLEST_UNIT = 1e-8  # a parameter of zeros has no size to step by and hardly moves

_log = logging.getLogger(__name__)


def finetune(
    network: Network,
    plan: BitPlan,
    train_loader: Iterable[Any],
    *,
    epochs: int = 5,
    start: QuantizedNetwork | None = None,
    calibration: Iterable[Any] | None = None,
    validation: Iterable[Any] | None = None,
    loss: UserLoss | None = None,
    learning_rate: float = 0.001,
    seed: int = 0,
    checkpoint: str | Path | None = None,
) -> QuantizedNetwork:
    """Train weights and step sizes under a plan, taught by the float network.

    The objective is the divergence from the float network's outputs, plus the user's loss where
    one is given. Adam, each parameter in steps relative to its own size, so that neither the scale
    of the inputs nor that of a layer matters; a cosine schedule. After each epoch the held-back
    data are evaluated; the best state, which may be the start, is returned.

    Args:
        network: the captured float network, the teacher.
        plan: widths of its layers and precision groups.
        train_loader: iterated once an epoch; shuffling and augmentation are its business.
        epochs: passes over the training data.
        start: where to begin, left as it is; by default ``quantize`` on the calibration data.
        calibration: for the default start; by default the first training samples.
        validation: held-back data; by default the calibration data.
        loss: the user's own, from outputs and target to a scalar, added to the distillation.
        learning_rate: at the start of the schedule, relative to the size of each parameter.
        seed: of torch's generator, which the loader may use.
        checkpoint: a file in which the training state is kept after each epoch; removed at the end.

    Raises:
        ConfigError: epochs or learning rate out of range, or a loss that is no scalar.
        DataError: unusable data.
        ArtifactError: the plan does not cover the network, the start was made under another plan,
            or the checkpoint is damaged.
        OutputError: the checkpoint cannot be written.
    """
    if epochs < 1:
        raise ConfigError(f"epochs has to be at least 1, not {epochs}")
    if not 0 < learning_rate < 1:
        raise ConfigError(f"the learning rate has to lie between 0 and 1, not {learning_rate}")
    few = _held_back(network, train_loader, calibration)
    student = quantize(network, plan, few) if start is None else _copy_under(plan, start)
    held_back = few if validation is None else read_batches(validation, network)
    training = _Training(network, student, loss, held_back)
    inputs = _digest(network, plan, student, epochs, learning_rate, seed, loss_name(loss))
    path = None if checkpoint is None else Path(checkpoint)
    training.run(train_loader, epochs, learning_rate, seed, path, inputs)
    if path is not None:
        path.unlink(missing_ok=True)
    return student


def _held_back(
    network: Network, train_loader: Iterable[Any], calibration: Iterable[Any] | None
) -> tuple[Batch, ...]:
    if calibration is not None:
        return read_batches(calibration, network)
    return read_batches(train_loader, network, limit=_HELD_BACK)


def _copy_under(plan: BitPlan, start: QuantizedNetwork) -> QuantizedNetwork:
    if (start.plan.weight_bits, start.plan.activation_bits) != (
        plan.weight_bits,
        plan.activation_bits,
    ):
        raise ArtifactError(
            f"the start was quantized under another plan ({start.plan.origin}) than the one given "
            f"({plan.origin}); quantize the network under it first"
        )
    return start.copy()


def _digest(network: Network, plan: BitPlan, student: QuantizedNetwork, *options: object) -> str:
    digest = hashlib.sha256(f"{network.digest()} {plan.digest()} {options}".encode())
    for name, value in sorted(student.state().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


class _Training:
    """One training run; edits the student in place.

    Args:
        network: the teacher.
        student: the network in training.
        loss: the user's own, or None.
        held_back: what each epoch is judged by.
    """

    def __init__(
        self,
        network: Network,
        student: QuantizedNetwork,
        loss: UserLoss | None,
        held_back: Sequence[Batch],
    ) -> None:
        self._network = network
        self._teacher = network.runner()
        self._student = student
        self._loss = loss
        self._held_back = held_back

    def run(
        self,
        loader: Iterable[Any],
        epochs: int,
        learning_rate: float,
        seed: int,
        checkpoint: Path | None,
        inputs: str,
    ) -> None:
        """Train, and leave the student in its best state."""
        optimizer = _optimizer(self._student)
        state = load_state(checkpoint, inputs)
        if state is None:
            first = self._student.state()
            best_loss = self._evaluate()
            state = TrainingState(inputs, 0, first, optimizer.state_dict(), first, best_loss)
            _log.info("before training: held-back loss %.5f", best_loss)
        self._student.restore(state.current)
        optimizer.load_state_dict(state.optimizer)
        for epoch in range(state.epoch, epochs):
            torch.manual_seed(seed + epoch)
            if not self._epoch(loader, optimizer, learning_rate, epoch, epochs):
                raise DataError("the training loader gave no samples; can it be iterated twice?")
            state = self._judged(state, optimizer, epoch + 1)
            if checkpoint is not None:
                state.save(checkpoint)
        self._student.restore(state.best)

    def _judged(
        self, state: TrainingState, optimizer: torch.optim.Optimizer, epoch: int
    ) -> TrainingState:
        loss, current = self._evaluate(), self._student.state()
        better = loss < state.best_loss
        _log.info("epoch %d: held-back loss %.5f%s", epoch, loss, " (best)" if better else "")
        return TrainingState(
            inputs=state.inputs,
            epoch=epoch,
            current=current,
            optimizer=optimizer.state_dict(),
            best=current if better else state.best,
            best_loss=loss if better else state.best_loss,
        )

    def _epoch(
        self,
        loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        learning_rate: float,
        epoch: int,
        epochs: int,
    ) -> int:
        total = _length(loader)
        steps = 0
        with progress_bar(f"epoch {epoch + 1}/{epochs}", total) as advance:
            for index, batch in enumerate(checked_batches(loader, self._network, "training")):
                done = (epoch + (index / total if total else 0.5)) / epochs
                _set_rate(optimizer, learning_rate * 0.5 * (1 + math.cos(math.pi * done)))
                self._step(batch, optimizer)
                advance()
                steps += 1
        return steps

    def _step(self, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        objective = self._objective(batch)
        objective.backward()
        optimizer.step()
        self._student.raise_scales()

    def _objective(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            reference = self._teacher.watch(batch.inputs, lambda _, value: value)
        outputs = tuple(flatten(self._student(*batch.inputs)))
        objective = divergence(reference, outputs).mean()
        if self._loss is not None:
            objective = objective + batch_loss(self._loss, outputs, batch)
        return objective

    def _evaluate(self) -> float:
        with torch.no_grad():
            losses = [float(self._objective(b)) * len(b) for b in self._held_back]
        mean = sum(losses) / sum(map(len, self._held_back))
        return mean if math.isfinite(mean) else math.inf


def _length(loader: Iterable[Any]) -> int:
    """Number of batches, or 0 where it is not known beforehand."""
    try:
        return len(loader) if isinstance(loader, Sized) else 0
    except TypeError:  # a DataLoader over an iterable data set has a length only in name
        return 0


def _optimizer(student: nn.Module) -> torch.optim.Optimizer:
    """Adam with one group a parameter; ``unit`` is the parameter's root mean square."""
    groups = [
        {"params": [p], "unit": max(float(p.detach().square().mean().sqrt()), _SMALLEST_UNIT)}
        for p in student.parameters()
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99))


def _set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["unit"]
