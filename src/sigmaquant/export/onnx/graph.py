"""Collects nodes and constants of an ONNX graph; the one module that imports onnx."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sigmaquant._version import __version__
from sigmaquant.errors import MissingExtraError

try:
    import onnx
except ImportError as error:
    raise MissingExtraError("ONNX export", "onnx") from error

OPSET = 13
"""The first with per-channel DequantizeLinear; ONNX Runtime reads it since version 1.6."""
IR_VERSION = 7

FLOAT32 = int(onnx.TensorProto.FLOAT)
INT32 = int(onnx.TensorProto.INT32)
INT64 = int(onnx.TensorProto.INT64)
INT8 = int(onnx.TensorProto.INT8)
UINT8 = int(onnx.TensorProto.UINT8)

BATCH = "N"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Array = npt.NDArray[Any]
Model: TypeAlias = onnx.ModelProto


@dataclass(frozen=True)
class Port:
    """An input or output of the file: shape without the batch dimension, which is dynamic."""

    name: str
    shape: tuple[int, ...]
    element_type: int = FLOAT32

    def to_proto(self) -> Any:
        """As ``onnx.ValueInfoProto``."""
        shape: list[str | int | None] = [BATCH, *self.shape]
        return onnx.helper.make_tensor_value_info(self.name, self.element_type, shape)


class GraphBuilder:
    """Nodes and constants under short names, because names are stored at every use.

    Args:
        reserved: names that are taken, such as the network's inputs and outputs.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = set(reserved)
        self._count = 0
        self._places: Counter[str] = Counter()
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
        self._parameters: list[Any] = []

    def fresh(self) -> str:
        """A short name that is not taken."""
        while True:
            name = "t" + _base36(self._count)
            self._count += 1
            if name not in self._taken:
                return name

    def constant(self, array: npt.ArrayLike) -> str:
        """The name of an initializer with this content; equal ones are stored once."""
        content = np.asarray(array)
        digest = hashlib.sha256(np.ascontiguousarray(content).tobytes()).digest()
        key = (content.dtype.str, content.shape, digest)
        if key not in self._constants:
            self._constants[key] = onnx.numpy_helper.from_array(content, self.fresh())
        return str(self._constants[key].name)

    def parameter(self, wanted: str, array: npt.ArrayLike) -> str:
        """The name of an initializer of its own, even if another has its content.

        For tensors that are known by name outside the graph; ``wanted`` unless it is taken.
        """
        name = wanted if wanted not in self._taken else f"{wanted}/{self.fresh()}"
        self._taken.add(name)
        self._parameters.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def integers(self, *numbers: int) -> str:
        """A constant int64 vector: shapes, axes, pads."""
        return self.constant(np.array(numbers, np.int64))

    def scalar(self, number: float) -> str:
        """A constant float32 scalar."""
        return self.constant(np.float32(number))

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        name: str = "",
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node with one output and return that output's name.

        ``name`` is given to nodes that a user may look for: the ones that compute. A second node
        of that name gets a number, because ONNX Runtime refuses equal names.
        """
        target = output or self.fresh()
        node = onnx.helper.make_node(kind, inputs, [target], self._unique(name), **attributes)
        self._nodes.append(node)
        return target

    def _unique(self, place: str) -> str | None:
        if not place:
            return None
        self._places[place] += 1
        count = self._places[place]
        return place if count == 1 else f"{place}#{count}"

    def split(self, source: str, sizes: Sequence[int]) -> list[str]:
        """Cut a vector into parts of the given sizes."""
        outputs = [self.fresh() for _ in sizes]
        self._nodes.append(onnx.helper.make_node("Split", [source, self.integers(*sizes)], outputs))
        return outputs

    def filled(self, shape: Sequence[int], value: np.integer[Any]) -> str:
        """A tensor of one value, of its type, which costs no bytes in the file."""
        attribute = onnx.numpy_helper.from_array(np.array([value]))
        return self.add("ConstantOfShape", [self.integers(*shape)], value=attribute)

    def model(
        self,
        network: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        metadata: Mapping[str, str],
        domains: Mapping[str, int] = MappingProxyType({}),
    ) -> Model:
        """The finished model, checked by onnx; ``domains`` are versions of further operators."""
        graph = onnx.helper.make_graph(
            self._nodes,
            network,
            [port.to_proto() for port in inputs],
            [port.to_proto() for port in outputs],
            [*self._constants.values(), *self._parameters],
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[
                onnx.helper.make_opsetid(*item) for item in ({"": OPSET} | dict(domains)).items()
            ],
            ir_version=IR_VERSION,
            producer_name="sigmaquant",
            producer_version=__version__,
        )
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model


def _base36(number: int) -> str:
    digits = _DIGITS[number % 36]
    while number := number // 36:
        digits = _DIGITS[number % 36] + digits
    return digits


def serialize(model: Model) -> bytes:
    """The file's content, the same for the same model."""
    return bytes(model.SerializeToString(deterministic=True))


def load_model(path: Path) -> Model:
    """The model in a file."""
    return onnx.load(path)


def initializers(model: Model) -> dict[str, Array]:
    """The model's constants by name."""
    return {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}


def initializer(name: str, array: npt.ArrayLike) -> Any:
    """A constant as ``onnx.TensorProto``."""
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def node(kind: str, inputs: Sequence[str], output: str) -> Any:
    """A node of one output and without attributes as ``onnx.NodeProto``."""
    return onnx.helper.make_node(kind, inputs, [output])


def attributes(proto: Any) -> dict[str, Any]:
    """The attributes of an ``onnx.NodeProto`` by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in proto.attribute}


def with_outputs(path: Path, ports: Sequence[Port]) -> bytes:
    """The file's model with further tensors exposed as outputs."""
    model = load_model(path)
    model.graph.output.extend(port.to_proto() for port in ports)
    return serialize(model)


@dataclass(frozen=True)
class Node:
    """A node of a file: its operator and its name."""

    kind: str
    name: str


def read_nodes(path: Path) -> list[Node]:
    """All nodes of a file."""
    return [Node(node.op_type, node.name) for node in onnx.load(path).graph.node]


def kinds(nodes: Iterable[Node]) -> dict[str, int]:
    """How often each operator occurs."""
    return dict(sorted(Counter(node.kind for node in nodes).items()))
