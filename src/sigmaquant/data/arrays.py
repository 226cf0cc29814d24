"""Samples from a NumPy ``.npz`` archive.

The arrays are recognised by their names; all have the samples along the first dimension:

========================  ========================================================
``x`` or ``inputs``       the network's only input
``x_0``, ``x_1``, ...     the network's inputs, in the order of their numbers
``y``, ``labels`` or      what evaluation and training compare with; may be absent
``target``
a single array            of any name: the input, without labels
========================  ========================================================

Floating-point arrays become float32. Integer inputs keep their type; integer labels become int64.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigmaquant.errors import DataError

_SINGLE_INPUT = ("x", "inputs")
_NUMBERED_INPUT = re.compile(r"x_(\d+)")
_TARGETS = ("y", "labels", "target")

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True)
class ArraySamples:
    """Samples in memory.

    Attributes:
        inputs: one tensor for each input of the network, (samples, ...).
        target: (samples, ...), or None.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs[0])

    def read(self, indices: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The samples at these places as one batch."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        target = None if self.target is None else self.target[chosen]
        return tuple(tensor[chosen] for tensor in self.inputs), target


def read_npz(path: str | Path) -> ArraySamples:
    """All samples of an archive, by the names in the module's docstring.

    Raises:
        DataError: missing, not an .npz, arrays of unknown names or of different lengths.
    """
    arrays = _read_arrays(Path(path))
    names = _input_names(arrays, path)
    targets = [name for name in _TARGETS if name in arrays and name not in names]
    unknown = sorted(set(arrays) - set(names) - set(targets))
    if unknown or len(targets) > 1:
        raise DataError(_naming_message(arrays, path))
    chosen = [*names, *targets]
    _check_lengths({name: arrays[name] for name in chosen}, path)
    inputs = tuple(_as_tensor(arrays[name], name, path) for name in names)
    target = _as_tensor(arrays[targets[0]], targets[0], path) if targets else None
    if target is not None and not target.is_floating_point():
        target = target.long()
    return ArraySamples(inputs, target)


def _read_arrays(path: Path) -> dict[str, AnyArray]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(
                    f"{path} holds one bare array; save it with numpy.savez(path, x=...)"
                )
            return dict(archive)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .npz archive: {error}") from error


def _input_names(arrays: Mapping[str, AnyArray], path: str | Path) -> list[str]:
    """Names of the input arrays, in the order of the network's inputs."""
    if len(arrays) == 1:
        return list(arrays)
    single = [name for name in _SINGLE_INPUT if name in arrays]
    numbered = [name for name in arrays if _NUMBERED_INPUT.fullmatch(name)]
    if len(single) + bool(numbered) != 1:
        raise DataError(_naming_message(arrays, path))
    return single or sorted(numbered, key=lambda name: int(name[2:]))


def _naming_message(arrays: Mapping[str, AnyArray], path: str | Path) -> str:
    found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    return (
        f"{path}: cannot tell inputs from labels: found {found}. Name the input x (or x_0, x_1, "
        "... for several) and the labels y"
    )


def _check_lengths(arrays: Mapping[str, AnyArray], path: str | Path) -> None:
    """Every array has the samples along its first dimension, equally many."""
    scalars = [name for name, array in arrays.items() if array.ndim == 0]
    if scalars:
        raise DataError(f"{path}: {scalars[0]} is a single number, not an array of samples")
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"{path}: different numbers of samples: {lengths}")


def _as_tensor(array: AnyArray, name: str, path: str | Path) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: {name} holds {array.dtype}, not numbers")
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype in (np.uint16, np.uint32, np.uint64):  # few torch operators take these
        return torch.from_numpy(array.astype(np.int64))
    return torch.from_numpy(array)
