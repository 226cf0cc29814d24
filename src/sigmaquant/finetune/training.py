"""``finetune``: mixed-precision quantization-aware training with distillation."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch, read_batches
from sigmaquant.calibration.batches import checked_batches
from sigmaquant.divergence import UserLoss, loss_name
from sigmaquant.errors import ArtifactError, ConfigError, DataError
from sigmaquant.finetune.averaging import WeightAverage
from sigmaquant.finetune.checkpoint import TrainingState, load_state
from sigmaquant.finetune.damping import dampen
from sigmaquant.finetune.micro_batches import parts_of, samples_within
from sigmaquant.finetune.objective import HeldBack, Objective
from sigmaquant.finetune.optimizer import RelativeAdam
from sigmaquant.finetune.precision import Precision
from sigmaquant.finetune.recipe import Recipe
from sigmaquant.finetune.sharing import own_part, sum_gradients
from sigmaquant.network import Network
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import QuantizedNetwork, quantize
from sigmaquant.ranks import SINGLE, Ranks, differing_rank, only_main_logs
from sigmaquant.units import parse_bytes

_HELD_BACK = 512  # samples taken from the training data where no others are given

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
    feature_weight: float = 0.0,
    damping: float = 0.0,
    precision: Precision = "float32",
    memory: str | int | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    ranks: Ranks = SINGLE,
) -> QuantizedNetwork:
    """Train weights and step sizes under a plan, taught by the float network.

    The objective is the divergence from the float network's outputs, plus the user's loss where
    one is given. Adam in steps relative to the size of what is moved, channel by channel, so that
    neither the scale of the inputs nor that of a layer or channel matters; a cosine schedule. After
    each epoch the held-back data judge the network and the moving average of its weights; the best
    state, which may be the start, is returned.

    Args:
        network: the captured float network, the teacher.
        plan: widths of its layers and precision groups.
        train_loader: iterated once an epoch; shuffling and augmentation are its business.
        epochs: passes over the training data.
        start: where to begin, left as it is; by default ``quantize`` on the calibration data.
        calibration: for the default start; by default the first training samples.
        validation: held-back data; by default the calibration data.
        loss: the user's own, from outputs and target to a scalar, added to the distillation; or a
            ``Distillation`` in its place.
        learning_rate: at the start of the schedule, relative to the size of what is moved.
        feature_weight: of the intermediate values that become integers, compared with the float
            network's; for deep networks and detectors. 0 leaves them out.
        damping: against weights that oscillate between two levels: the part of the way to the
            middle of its level that each weight is moved after a step, 0 to 1, as it is reached at
            the end of training (see ``dampen``).
        precision: of convolutions and matrix products in training: "float32"; "bfloat16"; or
            "auto", bfloat16 where the processor multiplies it: results then depend on the machine.
        memory: such as "2 GiB", that a step may take; batches go through the network in parts that
            fit. By default whole batches do.
        seed: of torch's generator, which the loader may use.
        checkpoint: a file in which the training state is kept after each epoch; removed at the end.
        ranks: processes that share the work, each of which calls this with the same arguments (see
            ``launched_ranks``). All iterate the loader and take their part of every batch; so it
            has to give all of them the same batches.

    Raises:
        ConfigError: a setting out of range, a loss that is no scalar, or a memory that one sample
            does not fit into.
        DataError: unusable data, or data that differ between processes.
        ArtifactError: the plan does not cover the network, the start was made under another plan,
            or the checkpoint is damaged.
        OutputError: the checkpoint cannot be written.
        PeerError: another process ended.
        UnitError: the memory is no size.
    """
    recipe = Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        feature_weight=feature_weight,
        damping=damping,
        precision=precision,
        memory_bytes=None if memory is None else parse_bytes(memory),
    )
    if recipe.memory_bytes is not None and network.batch_size is not None:
        raise ConfigError(
            f"the network was exported with a fixed batch of {network.batch_size}, so no batch can "
            "be parted to fit a memory; leave the memory out, or export it for any batch size"
        )
    path = None if checkpoint is None else Path(checkpoint)
    with only_main_logs(ranks):
        few = _held_back(network, train_loader, calibration)
        student = quantize(network, plan, few) if start is None else _copy_under(plan, start)
        held_back = few if validation is None else read_batches(validation, network)
        training = _Training(network, student, recipe, loss, held_back, ranks)
        inputs = _digest(network, plan, student, recipe.digest_text(), loss_name(loss))
        training.run(train_loader, path, inputs)
    if path is not None:
        ranks.from_main(partial(path.unlink, missing_ok=True))
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
        recipe: how to train.
        loss: the user's own, or None.
        held_back: what each epoch is judged by.
        ranks: share the work.
    """

    def __init__(
        self,
        network: Network,
        student: QuantizedNetwork,
        recipe: Recipe,
        loss: UserLoss | None,
        held_back: Sequence[Batch],
        ranks: Ranks,
    ) -> None:
        self._network = network
        self._student = student
        self._recipe = recipe
        self._objective = Objective(network, student, recipe, loss)
        self._held_back = HeldBack(self._objective, held_back, ranks)
        self._optimizer = RelativeAdam(student)
        self._average = WeightAverage(student)
        self._samples_at_once: int | None = None
        self._ranks = ranks

    def run(self, loader: Iterable[Any], checkpoint: Path | None, inputs: str) -> None:
        """Train, and leave the student in its best state."""
        _check_same_work(self._ranks, f"{inputs} {_length(loader)}")
        kept = self._ranks.from_main(partial(load_state, checkpoint, inputs))
        state = kept or self._started(inputs)
        self._student.restore(state.current)
        self._optimizer.load_state_dict(state.optimizer)
        self._average.load_state_dict(state.average)
        for epoch in range(state.epoch, self._recipe.epochs):
            torch.manual_seed(self._recipe.seed + epoch)
            if not self._epoch(loader, epoch):
                raise DataError("the training loader gave no samples; can it be iterated twice?")
            state = self._judged(state)
            if checkpoint is not None:
                self._ranks.from_main(partial(state.save, checkpoint))
        self._student.restore(state.best)

    def _started(self, inputs: str) -> TrainingState:
        first, loss = self._student.state(), self._held_back.loss()
        _log.info("before training: held-back loss %.5g", loss)
        return TrainingState(
            inputs=inputs,
            epoch=0,
            current=first,
            optimizer=self._optimizer.state_dict(),
            average=self._average.state_dict(),
            best=first,
            best_loss=loss,
        )

    def _epoch(self, loader: Iterable[Any], epoch: int) -> int:
        total, epochs = _length(loader), self._recipe.epochs
        steps = 0
        with progress_bar(f"epoch {epoch + 1}/{epochs}", total) as advance:
            for index, batch in enumerate(checked_batches(loader, self._network, "training")):
                done = (epoch + (index / total if total else 0.5)) / epochs
                self._step(batch, done)
                advance()
                steps += 1
        return steps

    def _step(self, batch: Batch, done: float) -> None:
        self._probe_memory(batch)
        self._optimizer.zero_grad()
        self._accumulate(batch)
        sum_gradients(self._student, self._ranks)
        self._optimizer.step(self._recipe.learning_rate, done)
        if self._recipe.damping:
            dampen(self._student, self._recipe.damping, done)
        self._student.raise_scales()
        self._average.update()

    def _accumulate(self, batch: Batch) -> None:
        """Add the gradient of the mean over a batch, of this rank's samples alone."""
        own, own_share = own_part(batch, self._ranks)
        for part, share in parts_of(own, self._samples_at_once):
            (own_share * share * self._objective(part)).backward()

    def _probe_memory(self, batch: Batch) -> None:
        memory = self._recipe.memory_bytes
        if memory is not None and self._samples_at_once is None:
            objective = self._objective
            self._samples_at_once = samples_within(memory, self._student, objective, batch)

    def _judged(self, state: TrainingState) -> TrainingState:
        """The state after one more epoch, with the better of the weights and their average."""
        epoch, current = state.epoch + 1, self._student.state()
        plain = self._held_back.loss()
        with self._average.applied():
            mean, averaged = self._held_back.loss(), self._student.state()
        loss, found = (plain, current) if plain <= mean else (mean, averaged)
        better = loss < state.best_loss
        _log.info(
            "epoch %d: held-back loss %.5g, of the averaged weights %.5g%s",
            epoch, plain, mean, " (best)" if better else "",
        )  # fmt: skip
        return TrainingState(
            inputs=state.inputs,
            epoch=epoch,
            current=current,
            optimizer=self._optimizer.state_dict(),
            average=self._average.state_dict(),
            best=found if better else state.best,
            best_loss=loss if better else state.best_loss,
        )


def _check_same_work(ranks: Ranks, work: str) -> None:
    other = differing_rank(ranks, work)
    if other is not None:
        raise DataError(
            f"process {other} trains from another start, or on another number of batches, than "
            "process 0; give all processes the same data, shuffled with a fixed seed"
        )


def _length(loader: Iterable[Any]) -> int:
    """Number of batches, or 0 where it is not known beforehand."""
    try:
        return len(loader) if isinstance(loader, Sized) else 0
    except TypeError:  # a DataLoader over an iterable data set has a length only in name
        return 0
