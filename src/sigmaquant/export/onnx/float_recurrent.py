"""Float operators that walk through time: LSTM and GRU layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sigmaquant.export.onnx.float_call import Call

_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""ONNX's order in PyTorch's: input, output, forget, cell; and update, reset, new."""


def _recurrence(kind: str, **attributes: Any) -> Callable[[Call], None]:
    """All states of a stack of layers, from zeros: (batch, steps, directions * hidden)."""

    def write(call: Call) -> None:
        weights, has_biases, layers = (call.argument(index, "") for index in (2, 3, 4))
        directions = 2 if call.argument(7, "bidirectional") else 1
        if call.argument(1, "hx") is not None or not call.argument(8, "batch_first"):
            call.refuse("from a state that it is given, or without the batch first")
        each = 4 if has_biases else 2
        hidden = weights[1].shape[1]
        whole = call.graph.integers(0, 0, directions * hidden)
        x = call.add("Transpose", call.input(), perm=[1, 0, 2])
        for layer in range(layers):
            first = layer * directions * each
            own = [weights[first + d * each : first + (d + 1) * each] for d in range(directions)]
            states = call.graph.add(
                kind,
                [x, *_constants(call, kind, own)],
                name=call.operator.name,
                hidden_size=hidden,
                direction="bidirectional" if directions == 2 else "forward",
                **attributes,
            )
            # (steps, directions, batch, hidden), to be read by the next layer or at the end.
            if layer < layers - 1:
                x = call.add("Transpose", states, perm=[0, 2, 1, 3])
                x = call.add("Reshape", x, whole)
        call.result("Reshape", call.add("Transpose", states, perm=[2, 0, 1, 3]), whole)

    return write


def _constants(call: Call, kind: str, directions: Sequence[Any]) -> list[str]:
    """W, R and, where there are biases, B of one layer, gates in ONNX's order."""
    stacked = [
        np.stack([_ordered(kind, weights[index]) for weights in directions])
        for index in range(len(directions[0]))
    ]
    biases = [np.concatenate(stacked[2:], axis=1)] if len(stacked) == 4 else []
    return [call.graph.constant(each) for each in (*stacked[:2], *biases)]


def _ordered(kind: str, weight: Any) -> Any:
    blocks = np.split(np.asarray(weight, np.float32), len(_GATES[kind]))
    return np.concatenate([blocks[gate] for gate in _GATES[kind]])


WRITERS: dict[str, Callable[[Call], None]] = {
    "lstm.input": _recurrence("LSTM"),
    # PyTorch's reset gate works behind the matrix product.
    "gru.input": _recurrence("GRU", linear_before_reset=1),
}
