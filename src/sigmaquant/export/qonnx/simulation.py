"""Fake quantization spelled out in standard operators, which ONNX Runtime runs.

Written from the definition of ``Quant`` and not from what the writers do: it reads a file's nodes
and constants alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError
from sigmaquant.export.onnx.graph import (
    Model,
    attributes,
    initializer,
    initializers,
    load_model,
    node,
    serialize,
)
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.qonnx.sheet import DOMAIN, QUANT

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """What numbers a quantized tensor can hold: ``scale * (q - zero_point)``, lowest to highest q.

    Attributes:
        scale: float32, broadcasts against the tensor.
        zero_point: one for all.
        lowest, highest: of the integers.
    """

    scale: npt.NDArray[np.float32]
    zero_point: int
    lowest: int
    highest: int

    def integers(self, real: Array) -> npt.NDArray[np.int64]:
        """The integers that stand for real numbers on the grid."""
        steps = np.rint(real.astype(np.float64) / self.scale.astype(np.float64))
        return steps.astype(np.int64) + self.zero_point


class Spelling:
    """Nodes and constants that spell out fake quantization, under names that no file has.

    Attributes:
        constants: that the nodes read, as ``onnx.TensorProto``.
    """

    def __init__(self) -> None:
        self.constants: list[Any] = []

    def round(self, source: str, target: str, grid: Grid) -> list[Any]:
        """The nodes from ``source`` to ``target``, rounded to the grid."""
        scale, zero_point = self._constant(grid.scale), self._constant(grid.zero_point)
        limits = [self._constant(limit) for limit in (grid.lowest, grid.highest)]
        steps = [("Div", scale), ("Add", zero_point), ("Clip", *limits), ("Round",)]
        steps += [("Sub", zero_point), ("Mul", scale)]
        names = [source, *(f"{target}//{index}" for index in range(len(steps) - 1)), target]
        return [
            node(kind, [given, *parameters], result)
            for (kind, *parameters), given, result in zip(steps, names, names[1:], strict=False)
        ]

    def _constant(self, number: npt.ArrayLike) -> str:
        name = f"//{len(self.constants)}"
        self.constants.append(initializer(name, np.asarray(number, np.float32)))
        return name


def quants(model: Model) -> Iterator[tuple[Any, Grid]]:
    """Every ``Quant`` node of a QONNX model with what it rounds to.

    Raises:
        ArtifactError: a node is none that this project writes.
    """
    constants = initializers(model)
    for quant in model.graph.node:
        if quant.domain == DOMAIN:
            yield quant, _grid(quant, constants)


def _grid(quant: Any, constants: dict[str, Array]) -> Grid:
    given: dict[str, Any] = {"signed": 1, "narrow": 0, "rounding_mode": b"ROUND"} | attributes(
        quant
    )
    is_known = quant.op_type == QUANT and given["rounding_mode"].upper() == b"ROUND"
    parameters = [constants.get(name) for name in quant.input[1:]]
    if not is_known or len(parameters) != 3 or any(item is None for item in parameters):
        raise ArtifactError(
            f"the node {quant.op_type} of {quant.output[0]!r} is no Quant that rounds to nearest "
            "by constants"
        )
    scale, zero_point, bits = (np.asarray(item, np.float32) for item in parameters)
    levels, signed = 2 ** int(bits), bool(given["signed"])
    lowest = -levels // 2 if signed else 0
    highest = lowest + levels - 1
    if given["narrow"]:
        lowest, highest = (lowest + 1, highest) if signed else (lowest, highest - 1)
    return Grid(scale, int(zero_point), lowest, highest)


def open_qonnx(path: Path) -> OnnxRuntimeNetwork:
    """A QONNX file in ONNX Runtime, in standard operators.

    Raises:
        ArtifactError: the file is no QONNX file that this project writes.
    """
    return OnnxRuntimeNetwork(serialize(spelled_out(load_model(path))))


def spelled_out(model: Model) -> Model:
    """A copy of a QONNX model in standard operators.

    Raises:
        ArtifactError: a ``Quant`` node is none that this project writes.
    """
    spelling, grids = Spelling(), {quant.output[0]: grid for quant, grid in quants(model)}
    copy = type(model)()
    copy.CopyFrom(model)
    set_items(copy.graph.node, _without_quants(model.graph.node, grids, spelling))
    copy.graph.initializer.extend(spelling.constants)
    set_items(copy.opset_import, [item for item in model.opset_import if item.domain != DOMAIN])
    return copy


def _without_quants(
    nodes: Iterable[Any], grids: dict[str, Grid], spelling: Spelling
) -> Iterator[Any]:
    for item in nodes:
        if item.domain == DOMAIN:
            yield from spelling.round(item.input[0], item.output[0], grids[item.output[0]])
        else:
            yield item


def set_items(field: Any, items: Iterable[Any]) -> None:
    """Give a repeated field of a protocol buffer other items."""
    kept = list(items)
    del field[:]
    field.extend(kept)
