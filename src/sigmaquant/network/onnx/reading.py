"""Reads an ONNX file into records; the one module of the importer that imports onnx.

Nothing in a file is believed: sizes are compared with the bytes that are there before an array is
made, and what cannot be read ends in a typed error that names the file and the place.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigmaquant.errors import MissingExtraError, ModelError, SigmaQuantError, UnsupportedError
from sigmaquant.network.onnx.external import read_external
from sigmaquant.network.onnx.quantized import check_float, check_pairs
from sigmaquant.network.onnx.records import Attribute, OnnxGraph, OnnxInput, OnnxNode, ordered

try:
    import onnx
    from onnx import AttributeProto, TensorProto, numpy_helper
except ImportError as error:
    raise MissingExtraError("Reading ONNX files", "onnx") from error

OPSETS = range(11, 22)
"""Versions of the standard operators that are understood."""

MAX_FILE_BYTES = 2**30
"""Of the file, and of all its tensors together, wherever they are kept: 256 Mi float32 weights."""

MAX_NODES = 5_000
"""Each takes about a millisecond to import; the networks of small devices have some hundreds."""

_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}
_INPUT_DTYPES = (torch.float32, torch.int32, torch.int64)


def read_onnx(
    path: str | Path, *, dequantize: bool = False, name: str | Path | None = None
) -> OnnxGraph:
    """Read and check an ONNX file.

    Args:
        path: of the file; external data are read from its folder only.
        name: of what the file was converted from, for messages.
        dequantize: take a file with pairs of QuantizeLinear and DequantizeLinear.

    Raises:
        ModelError: missing, damaged, or larger than ``MAX_FILE_BYTES``; its external data are
            outside the folder; its nodes do not form a graph.
        UnsupportedError: an opset outside ``OPSETS``, quantized already, or in a type or a form
            that is not understood; says what to do.
    """
    path = Path(path)
    model = _parsed(path)
    try:
        return _Reader(Path(name or path), model, path.parent).graph(dequantize=dequantize)
    except SigmaQuantError:
        raise
    except Exception as error:  # a damaged file fails in numpy or protobuf in many ways
        raise ModelError(f"{path} is damaged: {error}") from error


def dtype_of(element_type: int) -> torch.dtype | None:
    """The torch type of an ONNX element type; None where there is none."""
    return _DTYPES.get(element_type)


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"no such file: {path}")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{path} has {size} bytes, over the limit of {MAX_FILE_BYTES >> 20} MiB")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's DecodeError, whose home differs between its versions
        raise ModelError(f"{path} is not an ONNX file, or it is cut off: {error}") from error
    if not model.graph.output:
        raise ModelError(f"{path} is not an ONNX file: it holds no graph with an output")
    return model


class _Reader:
    """One file's parts, read into records."""

    def __init__(self, path: Path, model: Any, folder: Path) -> None:
        self._path = path
        self._model = model
        self._folder = folder
        self._tensor_bytes = 0

    def graph(self, *, dequantize: bool) -> OnnxGraph:
        proto = self._model.graph
        opset = self._opset()
        self._check_form()
        nodes = [self._node(node) for node in proto.node]
        if not dequantize:
            check_float(nodes, str(self._path))
        constants = {tensor.name: self._initializer(tensor) for tensor in proto.initializer}
        inputs = tuple(self._input(port) for port in proto.input if port.name not in constants)
        outputs = tuple(str(port.name) for port in proto.output)
        given = [*constants, *(port.name for port in inputs)]
        if not inputs:
            raise ModelError(f"{self._path} has no input: it computes one constant")
        needed = ordered(nodes, given, outputs, str(self._path))
        if dequantize:
            check_pairs(needed, str(self._path))
        return OnnxGraph(
            file=str(self._path),
            opset=opset,
            inputs=inputs,
            outputs=outputs,
            nodes=needed,
            constants=constants,
            producer=str(self._model.producer_name),
        )

    def _opset(self) -> int:
        versions = [s.version for s in self._model.opset_import if s.domain in ("", "ai.onnx")]
        if len(versions) != 1:
            raise ModelError(f"{self._path} does not say which version of the operators it uses")
        version = int(versions[0])
        if version not in OPSETS:
            raise UnsupportedError(
                f"{self._path} uses opset {version}; {OPSETS.start} to {OPSETS.stop - 1} are "
                "understood. Export it with opset_version=17, or convert it with "
                "onnx.version_converter.convert_version(model, 17)"
            )
        return version

    def _check_form(self) -> None:
        if self._model.functions:
            raise UnsupportedError(
                f"{self._path} defines operators of its own; inline them with "
                "onnx.inliner.inline_local_functions(model)"
            )
        if self._model.graph.sparse_initializer:
            raise UnsupportedError(f"{self._path} has sparse initializers; store them densely")
        if len(self._model.graph.node) > MAX_NODES:
            raise UnsupportedError(
                f"{self._path} has {len(self._model.graph.node)} nodes; {MAX_NODES} are the limit"
            )

    def _input(self, port: Any) -> OnnxInput:
        kind = port.type.tensor_type
        dtype = _DTYPES.get(kind.elem_type)
        if dtype not in _INPUT_DTYPES:
            raise UnsupportedError(
                f"{self._path}: input {port.name!r} is {_type_name(kind.elem_type)}; float32, "
                "int32 and int64 are taken. Convert the model to float32"
            )
        if not kind.HasField("shape") or not kind.shape.dim:
            raise ModelError(f"{self._path}: input {port.name!r} has no shape with a batch")
        sizes = tuple(self._size(dim, port.name) for dim in kind.shape.dim)
        return OnnxInput(str(port.name), sizes, dtype)

    def _size(self, dim: Any, name: str) -> int | None:
        if not dim.HasField("dim_value"):
            return None
        if dim.dim_value < 1:
            raise ModelError(f"{self._path}: input {name!r} has a dimension of {dim.dim_value}")
        return int(dim.dim_value)

    def _node(self, proto: Any) -> OnnxNode:
        domain = "" if proto.domain == "ai.onnx" else str(proto.domain)
        node = OnnxNode(
            name=str(proto.name),
            op_type=str(proto.op_type),
            domain=domain,
            inputs=tuple(str(name) for name in proto.input),
            outputs=tuple(str(name) for name in proto.output),
            attributes={},
        )
        if not any(node.outputs):
            raise ModelError(f"{self._path}: {node} has no output")
        where = f"{self._path}: {node}"
        read = {str(a.name): self._attribute(a, where) for a in proto.attribute}
        known = {name: value for name, value in read.items() if value is not None}
        return replace(node, attributes=known, scopes=_scopes(proto))

    def _attribute(self, proto: Any, where: str) -> Attribute | None:
        """The value; None for kinds that no operator we know has, such as graphs."""
        if proto.type == AttributeProto.TENSOR:
            return self._tensor(proto.t, f"{where}: {proto.name}")
        if proto.type == AttributeProto.STRING:
            return _text(proto.s)
        if proto.type == AttributeProto.STRINGS:
            return tuple(_text(value) for value in proto.strings)
        if proto.type == AttributeProto.FLOAT:
            return float(proto.f)
        if proto.type == AttributeProto.FLOATS:
            return tuple(float(value) for value in proto.floats)
        if proto.type == AttributeProto.INT:
            return int(proto.i)
        if proto.type == AttributeProto.INTS:
            return tuple(int(value) for value in proto.ints)
        return None

    def _initializer(self, proto: Any) -> Tensor:
        return self._tensor(proto, f"{self._path}: initializer {proto.name!r}")

    def _tensor(self, proto: Any, what: str) -> Tensor:
        dtype = _DTYPES.get(proto.data_type)
        if dtype is None:
            raise UnsupportedError(
                f"{what} is {_type_name(proto.data_type)}, which is not read; convert the model "
                "to float32"
            )
        shape = tuple(int(size) for size in proto.dims)
        if any(size < 0 for size in shape):
            raise ModelError(f"{what} has the shape {shape}")
        size = math.prod(shape) * dtype.itemsize
        self._spend(size, what)
        if proto.data_location == TensorProto.EXTERNAL:
            entries = {str(entry.key): str(entry.value) for entry in proto.external_data}
            numpy_type = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
            data = read_external(entries, self._folder, size, what)
            array = np.frombuffer(data, numpy_type.newbyteorder("<")).reshape(shape)
        else:
            array = _stored(proto, shape, what)
        # A copy: arrays from a buffer are read-only, and torch trains in place.
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))

    def _spend(self, size: int, what: str) -> None:
        self._tensor_bytes += size
        if self._tensor_bytes > MAX_FILE_BYTES:
            raise ModelError(
                f"{what} needs {size} bytes; with it the file's tensors are over the limit of "
                f"{MAX_FILE_BYTES >> 20} MiB together"
            )


def _stored(proto: Any, shape: tuple[int, ...], what: str) -> Any:
    """The array of a tensor that is in the file itself."""
    try:
        return numpy_helper.to_array(proto)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{what} has the shape {shape}, which its data do not fill: {error}"
        ) from error


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def _scopes(proto: Any) -> tuple[str, ...]:
    """What torch.onnx notes since opset 18: the text of a list of names."""
    for entry in getattr(proto, "metadata_props", ()):
        if entry.key == "pkg.torch.onnx.name_scopes":
            return tuple(re.findall(r"'([^']*)'", str(entry.value)))
    return ()


def _type_name(element_type: int) -> str:
    try:
        return str(TensorProto.DataType.Name(element_type)).lower()
    except ValueError:
        return f"of the unknown type {element_type}"
