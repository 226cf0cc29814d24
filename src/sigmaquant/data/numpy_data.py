"""Data as users of Keras have them: NumPy arrays, ``tf.data`` datasets, or batches of either.

An array, or a tuple of as many arrays as the network has inputs, holds inputs alone; one more holds
labels. Data sets give such tuples batch by batch, ``((x1, x2), y)`` or ``({"x1": ...}, y)`` for
several inputs, and may give sample weights behind the labels, which are left out. Values are
brought to the network's types, as Keras does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigmaquant.data.arrays import ArraySamples
from sigmaquant.data.sources import DataSource, RawBatch, SampleBatches
from sigmaquant.errors import DataError
from sigmaquant.network import Network

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Ports:
    """What a network reads.

    Attributes:
        names: of its inputs, as keys of dictionaries may be.
        dtypes: of its inputs.
    """

    names: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, network: Network) -> Ports:
        """Those of a network, by the names that it was imported with."""
        names = network.ports.inputs if network.ports is not None else ()
        return cls(tuple(names), network.input_dtypes)


@dataclass(frozen=True)
class NumpyBatches:
    """The batches of a data set as tensors.

    Attributes:
        batches: of arrays, or of what becomes one.
        ports: of the network that will read them.
        what: for messages.
        one_hot: labels are rows of one 1 each, which become classes.
    """

    batches: Iterable[Any]
    ports: Ports
    what: str
    one_hot: bool = False

    def __len__(self) -> int:
        """Number of batches; 0 where it is not known beforehand."""
        try:
            return len(self.batches) if isinstance(self.batches, Sized) else 0
        except TypeError:  # as tf.data answers
            return 0

    def __iter__(self) -> Iterator[RawBatch]:
        where = f"the {self.what} data"
        for item in _items(self.batches):
            inputs, target = read_item(item, self.ports, where)
            yield inputs, _classes(target, where) if self.one_hot else target


def numpy_source(
    data: Any,
    ports: Ports,
    what: str,
    *,
    batch_size: int = 64,
    shuffle: bool = False,
    seed: int = 0,
) -> DataSource:
    """Batches of tensors for a network.

    Labels that are rows of one 1 each become classes. The digest follows the content of arrays and
    of lists of batches; of other data sets, which may be long, that of the first batch.

    Args:
        data: arrays, a ``tf.data.Dataset``, a ``keras.utils.PyDataset`` or another iterable of
            batches that can be read again and again.
        ports: of the network.
        what: names the data in messages, such as "calibration".
        batch_size: for arrays.
        shuffle: arrays, in a new order at each iteration.
        seed: of the shuffling.

    Raises:
        DataError: they are none of these, or have other inputs than the network.
    """
    if _is_arrays(data):
        inputs, target = read_item(data, ports, f"the {what} data")
        _check_lengths(inputs, target, what)
        if _is_one_hot(target):
            target = _classes(target, f"the {what} data")
        order = torch.Generator().manual_seed(seed) if shuffle else None
        samples = SampleBatches(ArraySamples(inputs, target), batch_size, order)
        return DataSource(samples, _digest(inputs, target))
    if isinstance(data, Iterator) or not (isinstance(data, Iterable) or _is_numbered(data)):
        raise DataError(
            f"the {what} data is a {type(data).__name__}; give NumPy arrays, a tf.data.Dataset, or "
            "another iterable of batches that can be read more than once"
        )
    return _source_of_batches(NumpyBatches(data, ports, what))


def _source_of_batches(raw: NumpyBatches) -> DataSource:
    """All batches of a list are looked at, and the first one of what may be long."""
    data = raw.batches
    spec = f"{type(data)} {getattr(data, 'element_spec', '')} {len(raw)}"
    digest, one_hot = hashlib.sha256(spec.encode()), []
    for inputs, target in islice(raw, None if isinstance(data, Sequence) else 1):
        digest.update(_digest(inputs, target).encode())
        one_hot.append(_is_one_hot(target))
    batches = replace(raw, one_hot=bool(one_hot) and all(one_hot))
    return DataSource(batches, digest.hexdigest())


def first_inputs(data: Any, ports: Ports) -> tuple[Tensor, ...]:
    """Two samples of the data, to learn sizes from that a model leaves open.

    Raises:
        DataError: see ``numpy_source``; or there are none.
    """
    source = numpy_source(data, ports, "calibration", batch_size=2)
    first = next(iter(source), None)
    if first is None:
        raise DataError("the calibration data gave no batch; check their source and filters")
    return tuple(tensor[:2] for tensor in first[0])


def read_item(item: Any, ports: Ports, where: str) -> RawBatch:
    """One batch, or all samples at once, as (inputs, target); one-hot labels stay rows.

    Raises:
        DataError: it does not hold what the network reads.
    """
    count = len(ports.dtypes)
    parts = list(item) if isinstance(item, list | tuple) else [item]
    if parts and isinstance(parts[0], Mapping | list | tuple):
        inputs, target = _unpacked(parts[0], ports, where), parts[1:2]
    else:
        inputs, target = parts[:count], parts[count : count + 1]
    if len(inputs) != count:
        raise DataError(f"{where} hold {len(inputs)} inputs, the network takes {count}")
    tensors = tuple(
        _tensor(each, where).to(dtype) for each, dtype in zip(inputs, ports.dtypes, strict=True)
    )
    return tensors, _target(target[0], where) if target and target[0] is not None else None


def _unpacked(inputs: Any, ports: Ports, where: str) -> list[Any]:
    if not isinstance(inputs, Mapping):
        return list(inputs)
    if not ports.names:
        return list(inputs.values())
    if set(inputs) != set(ports.names):
        raise DataError(
            f"{where} have the inputs {sorted(map(str, inputs))}, the network has "
            f"{sorted(ports.names)}; use the same names, or give a tuple in the network's order"
        )
    return [inputs[name] for name in ports.names]


def _items(batches: Any) -> Iterator[Any]:
    """Each batch; a PyDataset of Keras can only be asked for them by number."""
    if hasattr(batches, "as_numpy_iterator"):
        return iter(batches.as_numpy_iterator())
    if _is_numbered(batches):
        return (batches[index] for index in range(len(batches)))
    return iter(batches)


def _is_numbered(batches: Any) -> bool:
    """Whether it is a PyDataset of Keras."""
    return hasattr(batches, "num_batches") and hasattr(batches, "__getitem__")


def _is_arrays(data: Any) -> bool:
    """Whether it is all samples at once; labels behind an array may be a plain list."""
    if not isinstance(data, tuple):
        return _is_array(data)
    return bool(data) and (_is_array(data[0]) or all(map(_is_column, data)))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_column(value: Any) -> bool:
    """An array of all samples, or several of them."""
    columns = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple):
        return bool(value) and all(map(_is_array, columns))
    return _is_array(value)


def _tensor(value: Any, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array: Array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} hold {array.dtype}, not numbers")
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    return torch.from_numpy(array.astype(np.int64 if array.dtype.kind in "iu" else np.bool_))


def _target(value: Any, where: str) -> Tensor:
    """Labels, whole numbers without a dimension of their own."""
    target = _tensor(value, where)
    if target.dtype == torch.bool:
        target = target.long()
    if target.dim() == 2 and target.shape[1] == 1 and not target.is_floating_point():
        return target[:, 0]
    return target


def _is_one_hot(target: Tensor | None) -> bool:
    if target is None or target.dim() != 2 or target.shape[1] < 2:
        return False
    return bool(((target == 0) | (target == 1)).all()) and bool((target.sum(1) == 1).all())


def _classes(target: Tensor | None, where: str) -> Tensor:
    """The classes that one-hot rows stand for."""
    if target is None or not _is_one_hot(target):
        raise DataError(
            f"{where} begin with labels of one class each and go on with others; give the classes "
            "as whole numbers, or a list of batches, which is looked at as a whole"
        )
    return target.argmax(1)


def _check_lengths(inputs: Sequence[Tensor], target: Tensor | None, what: str) -> None:
    lengths = {len(tensor) for tensor in (*inputs, *(() if target is None else (target,)))}
    if len(lengths) > 1:
        raise DataError(f"the {what} arrays have different numbers of samples: {sorted(lengths)}")


def _digest(inputs: Sequence[Tensor], target: Tensor | None) -> str:
    digest = hashlib.sha256()
    for tensor in (*inputs, *(() if target is None else (target,))):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
