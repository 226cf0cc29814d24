"""NumPy archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sigmaquant.data.arrays import read_npz
from sigmaquant.errors import DataError

X = np.arange(12, dtype=np.float64).reshape(4, 3)
Y = np.array([0, 1, 2, 1], dtype=np.int32)


def saved(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("input_name", ["x", "inputs", "x_0"])
@pytest.mark.parametrize("target_name", ["y", "labels", "target"])
def test_names(tmp_path: Path, input_name: str, target_name: str) -> None:
    samples = read_npz(saved(tmp_path, **{target_name: Y, input_name: X}))
    inputs, target = samples.read([2, 0])
    assert len(samples) == 4
    assert inputs[0].dtype == torch.float32
    assert inputs[0].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert target is not None
    assert target.dtype == torch.int64
    assert target.tolist() == [2, 0]


def test_several_inputs_are_ordered_by_number(tmp_path: Path) -> None:
    arrays = {f"x_{i}": np.full((4, 2), i, dtype=np.float32) for i in (10, 2, 0)}
    inputs, target = read_npz(saved(tmp_path, **arrays)).read([0])
    assert [tensor[0, 0].item() for tensor in inputs] == [0, 2, 10]
    assert target is None


def test_a_single_array_of_any_name_is_the_input(tmp_path: Path) -> None:
    samples = read_npz(saved(tmp_path, labels=X))
    assert samples.target is None
    assert samples.inputs[0].shape == (4, 3)


def test_float_targets_stay_float(tmp_path: Path) -> None:
    target = read_npz(saved(tmp_path, x=X, y=X)).target
    assert target is not None
    assert target.dtype == torch.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y[:3]}, "different numbers of samples: x 4, y 3"),
        ({"images": X, "classes": Y}, r"cannot tell inputs from labels: found images \(4, 3\)"),
        ({"x": X, "inputs": X}, "cannot tell"),
        ({"x": X, "y": Y, "labels": Y}, "cannot tell"),
        ({"x": X, "weights": Y}, "cannot tell"),
        ({"x": np.float32(1.0)}, "x is a single number"),
        ({"x": np.array(["a", "b"])}, "x holds <U1, not numbers"),
        ({}, "found nothing"),
    ],
)
def test_unusable_archives(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_npz(saved(tmp_path, **arrays))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*absent\.npz"):
        read_npz(tmp_path / "absent.npz")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable \.npz archive"):
        read_npz(path)


def test_bare_array(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(DataError, match="one bare array"):
        read_npz(tmp_path / "data.npy")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a readable"):
        read_npz(saved(tmp_path, x=np.array([{}, {}], dtype=object)))
