"""Training within a stated memory: a batch goes through the network in parts.

The gradients of the parts add up to the batch's, so that only the memory changes: what a step
keeps of a sample until its gradient is known. (Errors that count relative to the reference's mean
square, those of features and of outputs that are no class scores, do so part by part.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sigmaquant.calibration import Batch
from sigmaquant.calibration.batches import samples_between
from sigmaquant.errors import ConfigError
from sigmaquant.units import format_bytes

_log = logging.getLogger(__name__)

# Parameters with their gradients, Adam's moves with two moments, and the average; the plain, the
# averaged and the best state when an epoch is judged; and the teacher.
_COPIES = 10


def samples_within(
    memory_bytes: int, student: nn.Module, objective: Callable[[Batch], Tensor], batch: Batch
) -> int:
    """How many samples at a time fit, as measured on one and two samples of a batch.

    Counted are all copies of the parameters, what the backward pass needs of each sample, and the
    gradients of the largest value on both sides of an operator.

    Raises:
        ConfigError: not even one sample fits; says how much one needs.
    """
    parameters = [p.untyped_storage() for p in student.parameters()]
    fixed = _COPIES * sum(storage.nbytes() for storage in parameters)
    known = {storage.data_ptr() for storage in parameters}
    one, largest = _kept_bytes(objective, samples_between(batch, 0, 1), known)
    two, _ = _kept_bytes(objective, samples_between(batch, 0, 2), known)
    a_sample = max(two - one, 1) + 2 * largest
    fixed += max(2 * one - two, 0)
    count = (memory_bytes - fixed) // a_sample
    if count < 1:
        raise ConfigError(
            f"training does not fit into {format_bytes(memory_bytes)}: a step of one sample takes "
            f"{format_bytes(fixed + a_sample)}"
        )
    _log.info(
        "training takes %s and %s a sample: at most %d samples at a time within %s",
        format_bytes(fixed), format_bytes(a_sample), count, format_bytes(memory_bytes),
    )  # fmt: skip
    return count


def parts_of(batch: Batch, samples: int | None) -> Iterator[tuple[Batch, float]]:
    """A batch in parts of at most so many samples, each with its share of the batch."""
    size = max(1, len(batch)) if samples is None else samples
    for start in range(0, len(batch), size):
        part = samples_between(batch, start, start + size)
        yield part, len(part) / len(batch)


def _kept_bytes(
    objective: Callable[[Batch], Tensor], batch: Batch, known: set[int]
) -> tuple[int, int]:
    """Bytes of all storages that the backward pass of a batch needs, and of the largest."""
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        objective(batch)
    sizes = [size for _, size in kept.values()]
    return sum(sizes), max(sizes, default=0)
