"""One call of a Keras layer as the writers of layers see it, and the records that they write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigmaquant.errors import UnsupportedError
from sigmaquant.network.onnx.records import Attribute, OnnxNode

Array: TypeAlias = npt.NDArray[Any]

OPSET = 20
"""Of the records: the first with Gelu."""

ADVICE = (
    "write the model with layers that are known, or export it from TensorFlow "
    "(model.export('folder')) and give the folder"
)


@dataclass
class Sheet:
    """The nodes and constants of a network that is being written.

    Attributes:
        model: for messages.
        nodes: in the order in which they run.
        constants: by name.
    """

    model: str
    nodes: list[OnnxNode] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """The name of a constant: floats as float32, whole numbers as int64.

        A layer that is called again has the same constants under the same names: its weights
        stay tied.
        """
        array = np.asarray(values)
        kind = np.int64 if array.dtype.kind in "iu" else np.float32
        # A copy: the model's own variables must not be trained through it.
        tensor = torch.from_numpy(np.array(array, kind, order="C"))
        found, count = name, 1
        while found in self.constants and not torch.equal(self.constants[found], tensor):
            count += 1
            found = f"{name}#{count}"
        self.constants.setdefault(found, tensor)
        return found

    def node(
        self,
        operator: str,
        name: str,
        inputs: Sequence[str],
        outputs: int,
        attributes: dict[str, Attribute],
    ) -> tuple[str, ...]:
        """Append a node; returns the names of its outputs."""
        made = tuple(f"{name}:{len(self.nodes)}:{index}" for index in range(outputs))
        self.nodes.append(OnnxNode(name, operator, "", tuple(inputs), made, attributes))
        return made

    def result(self, value: str, name: str) -> None:
        """Give a value a second name, under which the network returns it."""
        self.nodes.append(OnnxNode(name, "Identity", "", (value,), (name,), {}))


@dataclass(frozen=True)
class LayerCall:
    """A layer, or an operation of ``keras.ops``, and what it reads.

    Attributes:
        layer: of Keras.
        path: its name, behind those of the models around it.
        inputs: names of the values that it reads.
        shapes: of each input, the batch first; None where it is open.
        arguments: all positional arguments; the values above are ``VALUE`` in it.
        sheet: where it is written.
    """

    layer: Any
    path: str
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    arguments: tuple[Any, ...]
    sheet: Sheet

    @property
    def rank(self) -> int:
        """Number of dimensions of the first input."""
        return len(self.shapes[0])

    def unsupported(self, problem: str) -> NoReturn:
        """Refuse a layer that says something that is not known."""
        raise UnsupportedError(
            f"{self.sheet.model}: layer {self.path!r} ({type(self.layer).__name__}): {problem}"
        )

    def only_input(self) -> str:
        """The value of a layer that reads one."""
        if len(self.inputs) != 1:
            self.unsupported(f"it reads {len(self.inputs)} tensors; {ADVICE}")
        return self.inputs[0]

    def reading(self, *inputs: str) -> LayerCall:
        """The same layer on other values of the same shapes."""
        return replace(self, inputs=inputs)

    def variable(self, name: str) -> Array | None:
        """The values of one of the layer's variables; None where it has none of that name."""
        found = getattr(self.layer, name, None)
        return None if found is None else _values(found)

    def weight(self, name: str) -> Array:
        """As ``variable``, of one that has to be there."""
        found = self.variable(name)
        if found is None:
            self.unsupported(f"it has no {name}; build the model before it is given")
        return found

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """The name of a constant of this layer."""
        return self.sheet.constant(f"{self.path}/{name}", values)

    def add(self, operator: str, *inputs: str, main: bool = False, **attributes: Attribute) -> str:
        """Append a node with one output and return that.

        Args:
            operator: of ONNX.
            inputs: names of values and constants; "" is one left out.
            main: the node has the layer's own name.
            attributes: of the operator.
        """
        name = self.path if main else f"{self.path}_{operator.lower()}"
        return self.sheet.node(operator, name, inputs, 1, attributes)[0]

    def add_outputs(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Attribute
    ) -> tuple[str, ...]:
        """As ``add`` with ``main``, of a node with several outputs."""
        return self.sheet.node(operator, self.path, inputs, outputs, attributes)

    # The order of dimensions.

    @property
    def is_channels_last(self) -> bool:
        """How a layer that knows channels has them."""
        return getattr(self.layer, "data_format", "channels_last") == "channels_last"

    def channels_first(self, value: str) -> str:
        """The value as ONNX has it, for a layer that may have the channels last."""
        if not self.is_channels_last or self.rank < 3:
            return value
        perm = (0, self.rank - 1, *range(1, self.rank - 1))
        return self.add("Transpose", value, perm=perm)

    def back(self, value: str) -> str:
        """The value as the layer gives it; undoes ``channels_first``."""
        if not self.is_channels_last or self.rank < 3:
            return value
        return self.add("Transpose", value, perm=(0, *range(2, self.rank), 1))


def _values(variable: Any) -> Array:
    """A variable of any backend as an array."""
    if isinstance(variable, np.ndarray):
        return variable
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable))


Writer: TypeAlias = Callable[[LayerCall], str]
"""Writes one call of a layer and returns its result; raises UnsupportedError with its place."""
