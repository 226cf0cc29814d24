"""LSTM and GRU, in one direction or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sigmaquant.network.keras.call import ADVICE, Array, LayerCall, Writer
from sigmaquant.network.keras.layers.activations import function_name

_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}
"""ONNX's order in Keras's: input, forget, cell, output; and update, reset, new."""


@dataclass(frozen=True)
class _Recurrence:
    """One direction: weights as ONNX has them, without the dimension of directions."""

    kernel: Array
    recurrent: Array
    bias: Array


def _one_direction(call: LayerCall) -> str:
    _check(call, call.layer)
    direction = "reverse" if call.layer.go_backwards else "forward"
    if direction == "reverse" and call.layer.return_sequences:
        call.unsupported(f"it returns all states of a walk backwards; {ADVICE}")
    return _written(call, call.layer, [_weights(call, call.layer)], direction)


def _bidirectional(call: LayerCall) -> str:
    layer = call.layer
    parts = [layer.forward_layer, layer.backward_layer]
    for part in parts:
        _check(call, part)
    if layer.merge_mode != "concat" or type(parts[0]) is not type(parts[1]):
        call.unsupported(f"its two directions are not concatenated; {ADVICE}")
    return _written(call, parts[0], [_weights(call, part) for part in parts], "bidirectional")


def _check(call: LayerCall, layer: Any) -> None:
    """Refuse what ONNX's operators do not do, or the importer does not know."""
    if type(layer).__name__ not in _GATES:
        call.unsupported(f"{type(layer).__name__} is not known; {ADVICE}")
    names = [function_name(f) for f in (layer.recurrent_activation, layer.activation)]
    if names != ["sigmoid", "tanh"]:
        call.unsupported(f"its activations are {names}, not Keras's sigmoid and tanh; {ADVICE}")
    if layer.stateful or layer.return_state or len(call.inputs) != 1:
        call.unsupported(f"it keeps, takes or returns a state; {ADVICE}")


def _weights(call: LayerCall, layer: Any) -> _Recurrence:
    """Keras has the gates side by side and the inputs first; ONNX one below the other."""
    kind, cell = type(layer).__name__, LayerCall(layer.cell, *_rest(call))
    order = _GATES[kind]

    def stacked(array: Array) -> Array:
        blocks = np.split(array, len(order), axis=-1)
        return np.concatenate([blocks[gate] for gate in order], axis=-1)

    kernel, recurrent = cell.weight("kernel"), cell.weight("recurrent_kernel")
    bias = cell.variable("bias")
    both = np.zeros((2, kernel.shape[1]), kernel.dtype)
    if bias is not None:
        both[: 1 if bias.ndim == 1 else 2] = bias
    return _Recurrence(stacked(kernel).T, stacked(recurrent).T, stacked(both).reshape(-1))


def _rest(call: LayerCall) -> tuple[Any, ...]:
    return call.path, call.inputs, call.shapes, call.arguments, call.sheet


def _written(call: LayerCall, layer: Any, parts: list[_Recurrence], direction: str) -> str:
    kind = type(layer).__name__
    arrays = {
        "W": np.stack([part.kernel for part in parts]),
        "R": np.stack([part.recurrent for part in parts]),
        "B": np.stack([part.bias for part in parts]),
    }
    steps_first = call.add("Transpose", call.inputs[0], perm=(1, 0, 2))
    inputs = [steps_first, *(call.constant(name, array) for name, array in arrays.items())]
    attributes: dict[str, Any] = {"hidden_size": int(layer.units), "direction": direction}
    if kind == "GRU":
        attributes["linear_before_reset"] = int(layer.reset_after)
    every, last = call.add_outputs(kind, inputs, 2, **attributes)
    features = len(parts) * int(layer.units)
    if layer.return_sequences:
        # (steps, directions, batch, hidden) to (batch, steps, directions * hidden)
        turned = call.add("Transpose", every, perm=(2, 0, 1, 3))
        return call.add("Reshape", turned, call.constant("shape", (0, 0, features)))
    turned = call.add("Transpose", last, perm=(1, 0, 2))
    return call.add("Reshape", turned, call.constant("shape", (0, features)))


LAYERS: dict[str, Writer] = {
    "Bidirectional": _bidirectional,
    "GRU": _one_direction,
    "LSTM": _one_direction,
}
"""By class."""
