"""Reads a Keras model of layers into the records that ONNX files are read into.

Any backend will do: layers are read for their settings and variables, nothing is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from sigmaquant.errors import ModelError, SigmaQuantError, UnsupportedError
from sigmaquant.network.keras.call import ADVICE, OPSET, LayerCall, Sheet
from sigmaquant.network.keras.layers.table import writer_of
from sigmaquant.network.onnx.records import OnnxGraph, OnnxInput, ordered

_DTYPES = {
    "float16": torch.float32,
    "bfloat16": torch.float32,
    "float32": torch.float32,
    "int32": torch.int32,
    "int64": torch.int64,
}

_Key: TypeAlias = tuple[int, int, int]
"""What tells a symbolic tensor: the operation's id, which call of it, which of its outputs."""


def read_keras(model: Any, name: str) -> OnnxGraph:
    """The layers of a functional or sequential model, under their own names.

    Args:
        model: a ``keras.Model`` that has been built.
        name: for messages.

    Raises:
        ModelError: it has no symbolic inputs and outputs.
        UnsupportedError: a layer, or a setting of one, that is not known; names it.
    """
    inputs, outputs = _ports(model, name)
    sheet = Sheet(name)
    ports = tuple(_input(tensor, name) for tensor in inputs)
    values = {_key(tensor): port.name for tensor, port in zip(inputs, ports, strict=True)}
    _Walk(sheet, values, "").run(outputs)
    results = _named_results(sheet, outputs, values, {port.name for port in ports})
    given = [*sheet.constants, *(port.name for port in ports)]
    return OnnxGraph(
        file=name,
        opset=OPSET,
        inputs=ports,
        outputs=results,
        nodes=ordered(sheet.nodes, given, results, name),
        constants=sheet.constants,
    )


def _ports(model: Any, name: str) -> tuple[list[Any], list[Any]]:
    inputs, outputs = (getattr(model, each, None) for each in ("inputs", "outputs"))
    if not inputs or not outputs:
        raise ModelError(
            f"{name}: a {type(model).__name__} does not say which layers it calls; call it on "
            "keras.Input tensors and give keras.Model(inputs, outputs)"
        )
    return list(inputs), list(outputs)


def input_names(model: Any) -> tuple[str, ...]:
    """The names that ``read_keras`` gives the inputs; none where the model does not say them."""
    inputs = getattr(model, "inputs", None) or ()
    return tuple(str(_history(tensor).operation.name) for tensor in inputs)


def _input(tensor: Any, name: str) -> OnnxInput:
    layer, dtype = _history(tensor).operation.name, _DTYPES.get(str(tensor.dtype))
    if dtype is None:
        raise UnsupportedError(
            f"{name}: input {layer!r} is {tensor.dtype}; float32, int32 and int64 are taken"
        )
    return OnnxInput(layer, tuple(tensor.shape), dtype)


def _named_results(
    sheet: Sheet, outputs: Sequence[Any], values: dict[_Key, str], taken: set[str]
) -> tuple[str, ...]:
    """The outputs under the names of their layers."""
    results: list[str] = []
    for tensor in outputs:
        name = wanted = str(_history(tensor).operation.name)
        count = 1
        while name in taken:
            count += 1
            name = f"{wanted}_{count}"
        taken.add(name)
        sheet.result(values[_key(tensor)], name)
        results.append(name)
    return tuple(results)


class _Walk:
    """The calls of one model's layers, each behind those whose results it reads.

    Args:
        sheet: where they are written.
        values: names of the values that are known, by tensor; edited.
        prefix: of the layers' names: the models around this one.
    """

    def __init__(self, sheet: Sheet, values: dict[_Key, str], prefix: str) -> None:
        self._sheet = sheet
        self._values = values
        self._prefix = prefix

    def run(self, outputs: Sequence[Any]) -> None:
        """Write all that the outputs depend on."""
        stack = [_key_and_node(tensor) for tensor in reversed(outputs)]
        while stack:
            key, node = stack[-1]
            missing = [t for t in node.input_tensors if _key(t) not in self._values]
            if key in self._values or not missing:
                stack.pop()
                if key not in self._values:
                    self._write(key, node)
                continue
            stack.extend(_key_and_node(tensor) for tensor in reversed(missing))

    def _write(self, key: _Key, node: Any) -> None:
        operation = node.operation
        inputs = tuple(self._values[_key(tensor)] for tensor in node.input_tensors)
        path = self._prefix + str(operation.name).replace("/", "_").replace(".", "_")
        if _is_model(operation):
            self._inline(operation, inputs, path, key)
            return
        call = LayerCall(
            layer=operation,
            path=path,
            inputs=inputs,
            shapes=tuple(tuple(tensor.shape) for tensor in node.input_tensors),
            arguments=tuple(node.arguments.args),
            sheet=self._sheet,
        )
        if len(node.outputs) != 1:
            call.unsupported(f"it has {len(node.outputs)} results; {ADVICE}")
        self._values[key] = _written(call)

    def _inline(self, model: Any, inputs: Sequence[str], path: str, key: _Key) -> None:
        """Write a model that is used as a layer."""
        own_inputs, own_outputs = _ports(model, path)
        inner = {_key(tensor): value for tensor, value in zip(own_inputs, inputs, strict=True)}
        _Walk(self._sheet, inner, f"{path}.").run(own_outputs)
        for index, tensor in enumerate(own_outputs):
            self._values[key[0], key[1], index] = inner[_key(tensor)]


def _written(call: LayerCall) -> str:
    writer = writer_of(type(call.layer))
    if writer is None:
        call.unsupported(f"this layer is not known; {ADVICE}")
    if getattr(call.layer, "quantization_mode", None):
        call.unsupported("it is quantized already; give the model as it was before")
    if getattr(call.layer, "lora_enabled", False):
        call.unsupported("it has low-rank updates; merge them before")
    try:
        return writer(call)
    except SigmaQuantError:
        raise
    except Exception as error:  # of settings that the writer has not thought of
        call.unsupported(f"it has settings that are not known ({error!r}); {ADVICE}")


def _is_model(operation: Any) -> bool:
    return any(kind.__name__ in ("Functional", "Sequential") for kind in type(operation).__mro__)


def _history(tensor: Any) -> Any:
    return tensor._keras_history


def _key(tensor: Any) -> _Key:
    history = _history(tensor)
    return id(history.operation), history.node_index, history.tensor_index


def _key_and_node(tensor: Any) -> tuple[_Key, Any]:
    history = _history(tensor)
    return _key(tensor), history.operation._inbound_nodes[history.node_index]
