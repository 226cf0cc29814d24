"""Batches of data in one shape, checked against the network that will read them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sigmaquant.errors import ConfigError, DataError
from sigmaquant.network import Network
from sigmaquant.network.runner import flatten


@dataclass(frozen=True)
class Batch:
    """Inputs of the network and, where there are any, labels.

    Attributes:
        inputs: one tensor for each input of the network, batch first.
        target: whatever the loss compares the output with.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])


def read_batches(
    loader: Iterable[Any],
    network: Network,
    limit: int | None = None,
    what: str = "input",
) -> tuple[Batch, ...]:
    """Read a loader into checked batches.

    Args:
        loader: yields tensors, (inputs, target) pairs, or dicts; batches are passed through.
        network: what reads them; its inputs give the expected shapes.
        limit: stop after that many samples; a network of fixed batch size gets whole batches.
        what: names the data in messages.

    Raises:
        DataError: no batch at all, NaN or infinite values, shapes or types that don't fit.
    """
    batches: list[Batch] = []
    count = 0
    for batch in checked_batches(loader, network, what):
        if limit is not None and count + len(batch) > limit and network.batch_size is None:
            batch = samples_between(batch, 0, limit - count)
        if len(batch):
            batches.append(batch)
            count += len(batch)
        if limit is not None and count >= limit:
            break
    if not batches:
        raise DataError(f"the {what} data gave no samples; check their source and filters")
    return tuple(batches)


def checked_batches(loader: Iterable[Any], network: Network, what: str) -> Iterator[Batch]:
    """Each item of a loader as a checked batch, one after the other; none is kept.

    Raises:
        DataError: see ``read_batches``.
    """
    for index, item in enumerate(loader):
        yield as_batch(item, network, f"{what} batch {index}")


def as_batch(item: Any, network: Network, where: str) -> Batch:
    """One item of a loader as a checked batch.

    Raises:
        DataError: see ``read_batches``; ``where`` names the item in the message.
    """
    batch = item if isinstance(item, Batch) else _split(item, len(network.input_shapes), where)
    if len(batch.inputs) != len(network.input_shapes):
        raise DataError(
            f"{where} has {len(batch.inputs)} inputs, the network takes {len(network.input_shapes)}"
        )
    expected = zip(batch.inputs, network.input_shapes, network.input_dtypes, strict=True)
    inputs = tuple(_checked(x, shape, dtype, where) for x, shape, dtype in expected)
    if network.batch_size is not None and len(inputs[0]) != network.batch_size:
        raise DataError(
            f"{where} has {len(inputs[0])} samples, but the network was exported with a fixed "
            f"batch of {network.batch_size}"
        )
    sizes = {len(x) for x in inputs}
    if len(sizes) > 1:
        raise DataError(f"the inputs of {where} have different numbers of samples: {sorted(sizes)}")
    if batch.target is not None and batch.target.shape[:1] != inputs[0].shape[:1]:
        raise DataError(
            f"{where} has {len(inputs[0])} samples but labels of shape {tuple(batch.target.shape)}"
        )
    return Batch(inputs, batch.target)


def _split(item: Any, input_count: int, where: str) -> Batch:
    tensors = flatten(list(item.values()) if isinstance(item, Mapping) else item)
    if len(tensors) == input_count:
        return Batch(tuple(tensors))
    if len(tensors) == input_count + 1:
        return Batch(tuple(tensors[:-1]), tensors[-1])
    raise DataError(
        f"{where} holds {len(tensors)} tensors; the network takes {input_count} inputs, so "
        f"{input_count} or, with labels, {input_count + 1} are expected"
    )


def _checked(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype, where: str) -> Tensor:
    if x.dim() == 0 or tuple(x.shape[1:]) != shape:
        raise DataError(
            f"{where} has shape {tuple(x.shape)}; the network takes (batch, "
            f"{', '.join(map(str, shape))})"
        )
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise DataError(f"{where} holds NaN or infinite values; clean the data first")
    if dtype.is_floating_point != x.is_floating_point() and dtype.is_floating_point:
        raise DataError(
            f"{where} holds {x.dtype}, the network takes {dtype}; convert and scale the data as "
            "in training"
        )
    return x.detach().to("cpu", dtype)


def samples_between(batch: Batch, start: int, stop: int) -> Batch:
    """Samples ``start`` to ``stop``, with their labels."""
    target = None if batch.target is None else batch.target[start:stop]
    return Batch(tuple(x[start:stop] for x in batch.inputs), target)


def in_parts(batches: Sequence[Batch], network: Network, least: int) -> Sequence[Batch]:
    """The samples as at least so many batches, if the network takes smaller ones.

    How much the parts of the data differ tells how much of what they say is chance.
    """
    if len(batches) >= least or network.batch_size is not None:
        return batches
    parts = math.ceil(least / len(batches))
    found = []
    for batch in batches:
        size = math.ceil(len(batch) / parts)
        starts = range(0, len(batch), size)
        found += [samples_between(batch, start, start + size) for start in starts]
    return found


def with_mirror_images(batches: Sequence[Batch]) -> tuple[Batch, ...]:
    """The batches, and each with its images mirrored left to right: twice as many samples.

    Raises:
        ConfigError: the samples are not images, (batch, channels, height, width).
    """
    for batch in batches:
        if len(batch.inputs) != 1 or batch.inputs[0].dim() != 4:
            shapes = ", ".join(str(tuple(each.shape)) for each in batch.inputs)
            raise ConfigError(
                f"samples of shape {shapes} are no images (batch, channels, height, width), so "
                "they have no mirror images; leave mirrored out"
            )
    mirrored = (Batch((batch.inputs[0].flip(3),), batch.target) for batch in batches)
    return (*batches, *mirrored)


def samples_of(batches: Sequence[Batch]) -> int:
    """Number of samples in all batches."""
    return sum(len(batch) for batch in batches)


def data_digest(batches: Sequence[Batch]) -> str:
    """SHA-256 of all inputs and labels, and of how they are split into batches."""
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in (*batch.inputs, *([] if batch.target is None else [batch.target])):
            # Without shapes, a checkpoint could be taken up in the middle of other batches.
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
