"""Small ONNX files made on the spot, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork

Array = Any
BATCH = "N"
_IR_OF_OPSET = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def floats(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Array:
    """Even random numbers between the limits."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def integers(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def node(op_type: str, inputs: str, outputs: str = "y", name: str = "", **attributes: Any) -> Any:
    """A node; names are separated by blanks, and ``-`` is an input left out."""
    names = ["" if part == "-" else part for part in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), name or None, **attributes)


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str | None]],
    constants: Mapping[str, Array] | None = None,
    outputs: str = "y",
    opset: int = 17,
    integer_inputs: Sequence[str] = (),
) -> Any:
    """A model; the shapes of its inputs include the batch."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in integer_inputs else TensorProto.FLOAT, shape
            )
            for name, shape in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs.split()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    for port in graph.output:  # the runtime infers shapes, but wants the type
        port.type.tensor_type.elem_type = TensorProto.FLOAT
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=_IR_OF_OPSET[opset],
    )


def saved(proto: Any, folder: Path, name: str = "net.onnx") -> Path:
    """The model as a file."""
    path = folder / name
    onnx.save(proto, path)
    return path


def runtime(proto: Any) -> Callable[[Mapping[str, Array]], list[Array]]:
    """What ONNX Runtime computes for inputs by name."""
    network = OnnxRuntimeNetwork(proto.SerializeToString(), threads=1)
    return lambda inputs: network._session.run(network.outputs, dict(inputs))


def module_outputs(module: torch.nn.Module, inputs: Sequence[Array]) -> list[Array]:
    with torch.no_grad():
        results = module(*(torch.from_numpy(x) for x in inputs))
    return [r.numpy() for r in ((results,) if isinstance(results, torch.Tensor) else results)]


def assert_same(actual: Sequence[Array], expected: Sequence[Array]) -> None:
    """Equal shapes, and values within 1e-4 of the largest."""
    assert len(actual) == len(expected)
    for got, wanted in zip(actual, expected, strict=True):
        assert got.shape == wanted.shape
        scale = max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)), 1e-3)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * scale)
