"""Batches behind a name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigmaquant.data import load_data
from sigmaquant.errors import DataError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(10, dtype=np.float32).reshape(10, 1), y=np.arange(10))
    return path


def inputs_of(source: object) -> list[list[float]]:
    return [batch[0][0].flatten().tolist() for batch in source]  # type: ignore[attr-defined]


def test_batches_in_order_again_and_again(archive: Path) -> None:
    source = load_data(str(archive), batch_size=4)
    assert inputs_of(source) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert inputs_of(source) == inputs_of(source)


def test_shuffling_is_seeded_and_new_at_each_epoch(archive: Path) -> None:
    first = load_data(archive, batch_size=4, shuffle=True, seed=3)
    again = load_data(archive, batch_size=4, shuffle=True, seed=3)
    epochs = [inputs_of(first) for _ in range(2)]
    assert epochs == [inputs_of(again) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(value for batch in epochs[0] for value in batch) == list(range(10))


def test_digest_follows_the_content(archive: Path, tmp_path: Path) -> None:
    before = load_data(archive).digest
    assert load_data(archive, batch_size=2).digest == before
    np.savez(archive, x=np.zeros((10, 1)))
    assert load_data(archive).digest != before


def test_image_folder(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / label / "1.png")
    source = load_data(tmp_path)
    ((inputs, target),) = source
    assert inputs[0].shape == (2, 3, 4, 4)
    assert target.tolist() == [0, 1]
    before = source.digest
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "b" / "2.png")
    assert load_data(tmp_path).digest != before


FUNCTIONS = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from sigmaquant.errors import DataError

def loader():
    return DataLoader(TensorDataset(torch.zeros(5, 2), torch.arange(5)), batch_size=2)

def once():
    yield torch.zeros(1, 2)

def fails():
    raise RuntimeError("disk is gone")

def fails_clearly():
    raise DataError("no camera")

def number():
    return 3

constant = 4
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"{tmp_path}/functions.py"


def test_function_of_the_user(functions: str) -> None:
    source = load_data(f"{functions}:loader")
    assert [len(target) for _, target in source] == [2, 2, 1]
    assert source.digest == load_data(f"{functions}:loader").digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("once", "can be read only once"),
        ("fails", r"fails\(\) failed: RuntimeError: disk is gone"),
        ("fails_clearly", "^no camera$"),
        ("number", "returned is a int"),
        ("constant", "is a int, not a function"),
        ("absent", "has no 'absent'"),
    ],
)
def test_functions_that_give_no_data(functions: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(f"{functions}:{name}")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_data(tmp_path / "absent.npz")
