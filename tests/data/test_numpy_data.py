"""Data as users of Keras have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from sigmaquant.data.numpy_data import Ports, first_inputs, numpy_source
from sigmaquant.errors import DataError

ONE = Ports(("image",), (torch.float32,))
TWO = Ports(("a", "b"), (torch.float32, torch.int64))
X, Y = np.arange(30, dtype=np.float64).reshape(10, 3), np.arange(10)


def _read(data: Any, ports: Ports = ONE, **how: Any) -> list[Any]:
    return list(numpy_source(data, ports, "calibration", **how))


def test_an_array_is_inputs_alone() -> None:
    batches = _read(X, batch_size=4)
    assert [len(inputs[0]) for inputs, _ in batches] == [4, 4, 2]
    assert all(target is None for _, target in batches)
    assert batches[0][0][0].dtype == torch.float32


def test_one_more_array_is_labels() -> None:
    ((inputs, target),) = _read((X, Y))
    assert torch.equal(inputs[0], torch.from_numpy(X).float())
    assert torch.equal(target, torch.arange(10))


@pytest.mark.parametrize(
    "labels", [Y[:, None], Y.tolist(), *(np.eye(10, dtype=kind)[Y] for kind in "fl?")]
)
def test_labels_in_columns_or_rows_of_0_and_1_are_classes(labels: Any) -> None:
    ((_, target),) = _read((X, labels))
    assert torch.equal(target, torch.arange(10))


def test_other_targets_stay() -> None:
    ((_, target),) = _read((X, X[:, :1]))
    assert target.shape == (10, 1)


def test_values_are_brought_to_the_type_of_the_network() -> None:
    ((inputs, _),) = _read(np.full((4, 2), 255, np.uint8))
    assert inputs[0].dtype == torch.float32
    assert inputs[0].max() == 255


@pytest.mark.parametrize(
    "data", [(X, Y), [{"b": Y, "a": X}], [((X, Y), Y)], [({"b": Y, "a": X}, Y)]]
)
def test_several_inputs(data: Any) -> None:
    inputs, _ = _read(data, TWO)[0]
    assert torch.equal(inputs[0], torch.from_numpy(X).float())
    assert torch.equal(inputs[1], torch.arange(10))


def test_arrays_are_shuffled_anew_in_every_pass() -> None:
    source = numpy_source((X, Y), ONE, "training", shuffle=True, seed=1)
    first, second = (torch.cat([target for _, target in source]) for _ in range(2))
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))


def test_digests_follow_the_content_of_arrays() -> None:
    digests = {
        numpy_source(data, ONE, "calibration").digest for data in (X, X + 1, (X, Y), X.astype("f4"))
    }
    assert len(digests) == 3


class TfDataset:
    """What is used of ``tf.data.Dataset``."""

    element_spec = "spec"

    def __len__(self) -> int:
        raise TypeError("the length is not known")

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("gives tensors of TensorFlow")

    def as_numpy_iterator(self) -> Iterator[Any]:
        yield X[:4], Y[:4], np.ones(4)
        yield X[4:], Y[4:], np.ones(6)


class PyDataset:
    """What is used of ``keras.utils.PyDataset``: without an end for who merely counts on."""

    num_batches = 2
    first = 0.0

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return X[:4] + self.first, Y[:4]


@pytest.mark.parametrize("data", [TfDataset(), PyDataset(), [(X[:4], Y[:4])] * 2])
def test_data_sets_are_read_by_batch_and_again(data: Any) -> None:
    source = numpy_source(data, ONE, "calibration")
    for _ in range(2):
        batches = list(source)
        assert len(batches) == 2
        assert torch.equal(batches[0][1], torch.arange(4))
    assert len(source.batches) in (0, 2)  # type: ignore[arg-type]


def test_digests_follow_the_content_of_batches() -> None:
    lists = [[(X, Y), (X, Y)], [(X, Y), (X, Y + 1)], [(X, Y), (X + 1, Y)]]
    assert len({numpy_source(data, ONE, "calibration").digest for data in lists}) == 3
    other = PyDataset()
    other.first = 1.0
    sources = [numpy_source(data, ONE, "calibration") for data in (PyDataset(), other)]
    assert sources[0].digest != sources[1].digest


ONE_CLASS, TWO_CLASSES = np.eye(3)[[0, 1]], np.ones((2, 3))


def test_rows_of_0_and_1_are_classes_in_all_batches_or_in_none() -> None:
    one_each, several = (X[:2], ONE_CLASS), (X[:2], TWO_CLASSES)
    assert [target.tolist() for _, target in _read([one_each, one_each])] == [[0, 1], [0, 1]]
    assert [target.shape for _, target in _read([one_each, several])] == [(2, 3), (2, 3)]


class Mixed(TfDataset):
    """Labels of one class each in the first batch alone."""

    def as_numpy_iterator(self) -> Iterator[Any]:
        yield X[:2], ONE_CLASS
        yield X[:2], TWO_CLASSES


def test_labels_that_change_their_kind_are_refused() -> None:
    source = numpy_source(Mixed(), ONE, "calibration")
    with pytest.raises(DataError, match="begin with labels of one class each and go on with"):
        list(source)


def test_the_first_inputs() -> None:
    assert first_inputs((X, Y), ONE)[0].shape == (2, 3)
    with pytest.raises(DataError, match="gave no batch"):
        first_inputs([], ONE)


REFUSED: dict[str, tuple[Any, str]] = {
    "read once": (iter([X]), "another iterable of batches that can be read more than once"),
    "nothing to read": (3, "the calibration data is a int; give NumPy arrays"),
    "texts": (np.array(["a", "b"]), "hold <U1, not numbers"),
    "other lengths": ((X, Y[:3]), r"different numbers of samples: \[3, 10\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read(name: str) -> None:
    data, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        _read(data)


def test_other_numbers_of_inputs() -> None:
    with pytest.raises(DataError, match="hold 3 inputs, the network takes 2"):
        _read([((X, X, X), Y)], TWO)


def test_dictionaries_have_the_names_of_the_inputs() -> None:
    with pytest.raises(
        DataError, match=r"have the inputs \['a', 'c'\], the network has \['a', 'b'\]"
    ):
        _read([{"c": Y, "a": X}], TWO)
    nameless = Ports((), TWO.dtypes)
    ((inputs, _),) = _read([{"c": X, "a": Y}], nameless)
    assert torch.equal(inputs[1], torch.arange(10))
