"""Reads exported files back and quantizes what their encodings say, for ONNX Runtime.

Written from the two schemas (see ``encodings``) and not from what is written: it reads the files
alone. Every tensor with an encoding is rounded to it, ``scale * clamp(round(x / scale))``, where it
is computed; stored ones in NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, VerificationError
from sigmaquant.export.onnx.graph import Model, initializer, initializers, load_model, serialize
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.qnn.encodings import VERSIONS
from sigmaquant.export.qnn.folder import MODEL, encodings_name
from sigmaquant.export.qonnx.simulation import Grid, Spelling, set_items

Array = npt.NDArray[Any]
Grids = Mapping[str, Grid]


def open_qnn(folder: Path) -> OnnxRuntimeNetwork:
    """Exported files in ONNX Runtime, with their encodings simulated.

    Raises:
        ArtifactError: a file is missing or damaged.
        VerificationError: the two encodings files differ.
    """
    return OnnxRuntimeNetwork(serialize(simulated(folder)))


def simulated(folder: Path) -> Model:
    """The float graph with all its encodings spelled out in standard operators.

    Raises:
        ArtifactError: a file is missing or damaged.
        VerificationError: the two encodings files differ.
    """
    model, grids = _read(folder)
    _simulate(model, grids)
    return model


def parameter_integers(folder: Path) -> dict[str, npt.NDArray[np.int64]]:
    """The integers that stored tensors become by their encodings, by name.

    Raises:
        ArtifactError: a file is missing or damaged.
        VerificationError: the two encodings files differ.
    """
    model, grids = _read(folder)
    return {
        name: _integers(array, grids[name]).astype(np.int64)
        for name, array in initializers(model).items()
        if name in grids
    }


def _read(folder: Path) -> tuple[Model, Grids]:
    try:
        model = load_model(folder / MODEL)
        contents = {
            version: json.loads((folder / encodings_name(version)).read_text(encoding="utf-8"))
            for version in VERSIONS
        }
        first, second = _read_1(contents["1.0.0"]), _read_2(contents["2.0.0"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder} holds no export for Qualcomm's converter: {error}"
        ) from error
    _refuse_differences(first, second)
    return model, second


def quantized_input(name: str) -> str:
    """The tensor that holds an input behind its encoding."""
    return f"{name}//quantized"


def unrounded(name: str) -> str:
    """The tensor that holds what is computed before it is rounded to its encoding."""
    return f"{name}//raw"


def _read_1(content: dict[str, Any]) -> dict[str, Grid]:
    """By name, with the zero point moved into the limits."""
    every = [*content["activation_encodings"], *content["param_encodings"]]
    return {item["name"]: _grid_1(item) for item in every}


def _grid_1(item: dict[str, Any]) -> Grid:
    (offset,) = set(item["offset"])
    scale = np.array(item["scale"], np.float32)
    if item["enc_type"] == "PER_TENSOR":
        (scale,) = scale
    return Grid(np.asarray(scale), 0, offset, offset + 2 ** item["bw"] - 1)


def _read_2(content: dict[str, Any]) -> dict[str, Grid]:
    """By name, with the zero point moved into the limits."""
    return {item["name"]: _grid_2(item) for item in content["encodings"]}


def _grid_2(item: dict[str, Any]) -> Grid:
    dtype, zero_point = item["output_dtype"], item.get("y_zero_point", 0)
    levels = 2 ** int(dtype.removeprefix("u").removeprefix("int"))
    lowest = (0 if dtype.startswith("u") else -levels // 2) - zero_point
    scale = np.array(item["y_scale"], np.float32)
    if scale.ndim != ("axis" in item):
        raise ValueError(f"{item['name']}: a scale of shape {scale.shape}")
    return Grid(scale, 0, lowest, lowest + levels - 1)


def _refuse_differences(first: Grids, second: Grids) -> None:
    if first.keys() != second.keys():
        names = sorted(first.keys() ^ second.keys())
        raise VerificationError(f"{names[0]!r} has an encoding in one schema and not in the other")
    for name, grid in first.items():
        other = second[name]
        limits = (grid.lowest, grid.highest) == (other.lowest, other.highest)
        if not limits or not np.array_equal(grid.scale, other.scale):
            raise VerificationError(f"{name!r} has different encodings in the two schemas")


def _simulate(model: Model, grids: Grids) -> None:
    """Edit the model: constants are rounded, and nodes round what is computed."""
    constants, spelling = initializers(model), Spelling()
    stored = [
        initializer(name, _rounded(array, grids[name]))
        if name in grids
        else initializer(name, array)
        for name, array in constants.items()
    ]
    given = {port.name for port in model.graph.input} & grids.keys()
    nodes = [n for name in sorted(given) for n in _rounding(spelling, name, grids[name])]
    nodes += _nodes(model, spelling, grids, given)
    set_items(model.graph.node, nodes)
    set_items(model.graph.initializer, [*stored, *spelling.constants])


def _rounding(spelling: Spelling, name: str, grid: Grid) -> list[Any]:
    return spelling.round(name, quantized_input(name), grid)


def _nodes(model: Model, spelling: Spelling, grids: Grids, given: set[str]) -> Iterator[Any]:
    for original in model.graph.node:
        item = type(original)()
        item.CopyFrom(original)
        set_items(item.input, [quantized_input(n) if n in given else n for n in item.input])
        (result,) = item.output
        if result not in grids:
            yield item
            continue
        set_items(item.output, [unrounded(result)])
        yield item
        yield from spelling.round(unrounded(result), result, grids[result])


def _rounded(array: Array, grid: Grid) -> Array:
    real: Array = (_integers(array, grid) * _broadcast(array, grid)).astype(np.float32)
    return real


def _integers(array: Array, grid: Grid) -> Array:
    return np.clip(np.rint(array / _broadcast(array, grid)), grid.lowest, grid.highest)


def _broadcast(array: Array, grid: Grid) -> npt.NDArray[np.float32]:
    """The scale against the tensor; channels are dimension 0."""
    return grid.scale.reshape(-1, *(1,) * (array.ndim - 1)) if grid.scale.ndim else grid.scale
