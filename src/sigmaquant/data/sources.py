"""Batches from a file, a folder or the user's own code, all named by one string."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from sigmaquant.data.arrays import read_npz
from sigmaquant.data.images import ImageOptions, find_images
from sigmaquant.data.references import import_object, is_reference, source_file
from sigmaquant.data.samples import Samples
from sigmaquant.errors import DataError, SigmaQuantError
from sigmaquant.network.runner import flatten

RawBatch = tuple[tuple[Tensor, ...], Tensor | None]
"""(inputs, target) as a reader gives it."""


@dataclass(frozen=True)
class DataSource:
    """Batches that can be iterated again and again, and a digest of where they come from.

    Attributes:
        batches: a re-iterable of (inputs, target), as ``read_batches`` takes it.
        digest: changes when the data do: of the files, or of the code that gives the batches.
    """

    batches: Iterable[Any]
    digest: str

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


@dataclass(frozen=True)
class SampleBatches:
    """Samples in batches; where shuffled, in a new seeded order at each iteration.

    Attributes:
        samples: what is read.
        batch_size: samples in each batch; the last may be smaller.
        order: draws the order of the samples; None keeps the reader's own order.
    """

    samples: Samples
    batch_size: int
    order: torch.Generator | None = field(repr=False)

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[RawBatch]:
        count = len(self.samples)
        order: Sequence[int] = range(count)
        if self.order is not None:
            order = torch.randperm(count, generator=self.order).tolist()
        for start in range(0, count, self.batch_size):
            yield self.samples.read(order[start : start + self.batch_size])


def load_data(
    spec: str | Path,
    *,
    batch_size: int = 64,
    shuffle: bool = False,
    seed: int = 0,
    images: ImageOptions | None = None,
) -> DataSource:
    """The data behind a name.

    Args:
        spec: an ``.npz`` file (see ``data/arrays.py`` for the names of its arrays), a folder of
            images (see ``data/images.py``), or ``package.module:function`` or
            ``file.py:function`` for a function without arguments that returns a DataLoader or
            another iterable of (inputs, target); its batches are taken as they are.
        batch_size: for files and folders.
        shuffle: draw a new order at each iteration; for training.
        seed: of the shuffling.
        images: for a folder.

    Raises:
        DataError: nothing readable there.
    """
    text = str(spec)
    if is_reference(text):
        return _call_source(text)
    path = Path(text)
    samples: Samples
    if path.is_dir():
        samples = find_images(path, images or ImageOptions())
        digest = _folder_digest(path, images)
    else:
        samples = read_npz(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    order = torch.Generator().manual_seed(seed) if shuffle else None
    return DataSource(SampleBatches(samples, batch_size, order), digest)


def as_source(batches: Iterable[Any], what: str) -> DataSource:
    """A loader of the user's own, with a digest of what can be known without reading it.

    That is all tensors of a list of batches or of a ``TensorDataset``; of any other loader only
    its type and length. ``what`` names the data in messages, such as "training".

    Raises:
        DataError: it cannot be iterated, or only once.
    """
    if isinstance(batches, DataSource):
        return batches
    _check_reiterable(batches, f"the {what} data")
    dataset = getattr(batches, "dataset", batches)
    digest = hashlib.sha256(f"{type(batches)} {type(dataset)}".encode())
    if isinstance(batches, Sized):
        digest.update(str(len(batches)).encode())
    tensors = dataset.tensors if isinstance(dataset, TensorDataset) else flatten(dataset)
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return DataSource(batches, digest.hexdigest())


def _check_reiterable(batches: object, what: str) -> None:
    kind = type(batches).__name__
    if not isinstance(batches, Iterable):
        raise DataError(
            f"{what} is a {kind}; it has to be a DataLoader or another iterable of (inputs, target)"
        )
    if isinstance(batches, Iterator):
        raise DataError(
            f"{what} is a {kind}, which can be read only once; use a DataLoader or a list"
        )


def example_inputs(source: DataSource) -> tuple[Tensor, ...]:
    """The inputs of the calibration data's first batch, to capture a network with.

    Raises:
        DataError: the data are empty or the first batch is not (inputs, target).
    """
    item = next(iter(source), None)
    if item is None:
        raise DataError("the calibration data gave no batch; check their source and filters")
    if isinstance(item, list | tuple) and item:
        item = item[0]
    inputs = (item,) if isinstance(item, Tensor) else item
    if isinstance(inputs, list | tuple) and all(isinstance(x, Tensor) for x in inputs):
        return tuple(inputs)
    raise DataError(
        f"the first batch is a {type(item).__name__}; a model can be captured with batches of "
        "(inputs, target), where inputs is a tensor or a tuple of tensors"
    )


def _call_source(reference: str) -> DataSource:
    """What the user's function returns, checked to be iterable more than once."""
    function = import_object(reference, DataError)
    if not callable(function):
        raise DataError(f"{reference} is a {type(function).__name__}, not a function")
    try:
        batches = function()
    except SigmaQuantError:
        raise
    except Exception as error:
        raise DataError(f"{reference}() failed: {type(error).__name__}: {error}") from error
    _check_reiterable(batches, f"what {reference}() returned")
    file = source_file(reference, DataError)
    content = file.read_bytes() if file else b""
    return DataSource(batches, hashlib.sha256(reference.encode() + content).hexdigest())


def _folder_digest(folder: Path, options: ImageOptions | None) -> str:
    """Of names, sizes and times of the files: reading every image again would take too long."""
    digest = hashlib.sha256(repr(options).encode())
    for file in sorted(folder.rglob("*")):
        stat = file.stat()
        digest.update(f"{file.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
