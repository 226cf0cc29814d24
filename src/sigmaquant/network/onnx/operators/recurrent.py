"""LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigmaquant.network.onnx.call import Builder, Call, Step

Function: TypeAlias = Callable[..., Any]

_LSTM_GATES = (0, 2, 3, 1)
"""Input, forget, cell, output in torch; ONNX has input, output, forget, cell."""

_GRU_GATES = (1, 0, 2)
"""Reset, update, new in torch; ONNX has update, reset, new."""

_MAX_UNROLLED_STEPS = 200
"""Each is ten operators of the captured graph."""

_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


def _lstm(call: Call) -> Step:
    hidden, directions = _plan(call)
    if call.has(7):
        call.unsupported("it has peepholes (P), which torch does not have")
    if call.integer("input_forget", 0):
        call.unsupported("its input_forget couples two gates; export it without")
    _check_initial(call, 5)
    _check_initial(call, 6)
    weights = _weights(call, _LSTM_GATES, hidden, directions)
    return Step(_recurrence(call, torch.lstm, weights, hidden))


def _gru(call: Call) -> Step:
    hidden, directions = _plan(call)
    _check_initial(call, 5)
    weights = _weights(call, _GRU_GATES, hidden, directions)
    if call.integer("linear_before_reset", 0):
        return Step(_recurrence(call, torch.gru, weights, hidden))
    steps = call.fixed(1 if call.integer("layout", 0) else 0)
    if steps > _MAX_UNROLLED_STEPS:
        call.unsupported(
            f"its reset gate works before the matrix product (linear_before_reset=0), which is "
            f"written out step by step, up to {_MAX_UNROLLED_STEPS} and not {steps}; train it "
            "with reset_after=True"
        )
    return Step(_recurrence(call, reset_first_gru, weights, hidden))


def _plan(call: Call) -> tuple[int, int]:
    """(hidden size, number of directions), after refusing what torch's layers do not do."""
    direction = call.text("direction", "forward")
    if direction not in _DIRECTIONS or call.rank() != 3:
        call.damaged(f"its direction is {direction!r} and its input has {call.rank()} dimensions")
    count = _DIRECTIONS[direction]
    usual = _ACTIVATIONS[call.node.op_type] * count
    if call.node.attributes.get("activations", usual) != usual:
        call.unsupported(f"its activations are not {', '.join(usual)}")
    if "clip" in call.node.attributes:
        call.unsupported("it limits its values (clip); export it without")
    if call.has(4):
        _check_full_length(call)
    recurrence = call.constant(2, "R")
    hidden = call.integer("hidden_size", recurrence.shape[-1])
    gates = 4 if call.node.op_type == "LSTM" else 3
    shapes: dict[int, tuple[int, ...]] = {
        1: (count, gates * hidden, call.shape()[-1]),
        2: (count, gates * hidden, hidden),
    }
    if call.has(3):
        shapes[3] = (count, 2 * gates * hidden)
    for position, shape in shapes.items():
        found = tuple(call.constant(position, "weight").shape)
        if found != shape or hidden < 1:
            call.damaged(f"input {position} has the shape {found}, not {shape}")
    return hidden, count


def _check_full_length(call: Call) -> None:
    """Lengths of sequences are taken only where they say nothing new."""
    lengths, steps = call.value(4), call.fixed(1 if call.integer("layout", 0) else 0)
    if not lengths.known or any(bool((each != steps).any()) for each in lengths.tensors):
        call.unsupported("its sequence_lens cut sequences short; pad the data instead")


def _check_initial(call: Call, position: int) -> None:
    if call.has(position):
        state = call.value(position)
        if not state.known or any(bool(tensor.any()) for tensor in state.tensors):
            call.unsupported("it starts from a state that is not zero")


def _weights(
    call: Call, gates: tuple[int, ...], hidden: int, directions: int
) -> dict[str, nn.Parameter]:
    """Torch's parameters by torch's names, in torch's order, gates too."""
    parts = [("weight_ih_l0", 1, 0), ("weight_hh_l0", 2, 0)]
    if call.has(3):
        parts += [("bias_ih_l0", 3, 0), ("bias_hh_l0", 3, 1)]
    weights = {}
    for direction in range(directions):
        for name, position, half in parts:
            stacked = call.constant(position, "weight")[direction]
            rows = len(gates) * hidden
            blocks = stacked[half * rows : (half + 1) * rows].split(hidden)
            ordered = torch.cat([blocks[gate] for gate in gates])
            weights[name + "_reverse" * direction] = nn.Parameter(ordered)
    return weights


def reset_first_gru(
    x: Tensor, start: Tensor, weights: Sequence[Tensor], has_biases: bool, *_: Any
) -> tuple[Tensor, Tensor]:
    """As ``torch.gru``, with the reset gate before the matrix product (Cho et al. 2014, eq. 8).

    (steps, batch, features) to all states (steps, batch, directions * hidden) and the last.
    """
    count = 4 if has_biases else 2
    runs = [_walk(x, start[0], *weights[:count])]
    if len(start) == 2:
        runs.append(_walk(x.flip(0), start[1], *weights[count:]).flip(0))
    last = [run[-1 if direction == 0 else 0] for direction, run in enumerate(runs)]
    return torch.cat(runs, -1), torch.stack(last)


def _walk(
    x: Tensor,
    state: Tensor,
    kernel: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    recurrent_bias: Tensor | None = None,
) -> Tensor:
    """All states of one direction; the gates are reset, update and new."""
    hidden = state.shape[-1]
    sizes = (2 * hidden, hidden)
    gates, new = recurrent.split(sizes)
    gates_bias, new_bias = (None, None) if recurrent_bias is None else recurrent_bias.split(sizes)
    states = []
    for given in functional.linear(x, kernel, bias).unbind(0):
        both = torch.sigmoid(given[:, : 2 * hidden] + functional.linear(state, gates, gates_bias))
        reset, update = both.chunk(2, -1)
        fresh = given[:, 2 * hidden :] + functional.linear(reset * state, new, new_bias)
        state = (1 - update) * torch.tanh(fresh) + update * state
        states.append(state)
    return torch.stack(states)


def _recurrence(
    call: Call, function: Function, weights: dict[str, nn.Parameter], hidden: int
) -> nn.Module:
    direction = call.text("direction", "forward")
    return Recurrence(
        function,
        weights,
        hidden=hidden,
        directions=_DIRECTIONS[direction],
        backwards=direction == "reverse",
        batch_first=bool(call.integer("layout", 0)),
    )


class Recurrence(nn.Module):
    """A recurrent layer with ONNX's outputs.

    torch's own modules keep their weights twice, which torch.export complains about.

    Args:
        function: ``torch.lstm``, ``torch.gru`` or ``reset_first_gru``.
        weights: as torch's own modules name and order them.
        hidden: size of the state.
        directions: 1 or 2.
        backwards: runs from the last step to the first.
        batch_first: ONNX's layout 1.
    """

    def __init__(
        self,
        function: Function,
        weights: Mapping[str, nn.Parameter],
        *,
        hidden: int,
        directions: int,
        backwards: bool,
        batch_first: bool,
    ) -> None:
        super().__init__()
        self.function = function
        self.names = tuple(weights)
        self.hidden = hidden
        self.directions = directions
        self.backwards = backwards
        self.batch_first = batch_first
        for name, weight in weights.items():
            self.register_parameter(name, weight)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(steps, batch, features) to all states (steps, directions, batch, hidden), and the last.

        The last states, of an LSTM its cells' too, are (directions, batch, hidden). With the batch
        first it comes before all others.
        """
        if self.batch_first:
            x = x.transpose(0, 1)
        states, *finals = self._run(x.flip(0) if self.backwards else x)
        if self.backwards:
            states = states.flip(0)
        every = states.unflatten(-1, (-1, self.hidden)).transpose(1, 2)
        if self.batch_first:
            return every.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in finals)
        return every, *finals

    def _run(self, x: Tensor) -> Any:
        """Torch's outputs: (steps, batch, directions * hidden) and the last states."""
        zeros = x.new_zeros(self.directions, x.shape[1], self.hidden)
        start = (zeros, zeros) if self.function is torch.lstm else zeros
        weights = [getattr(self, name) for name in self.names]
        has_biases = "bias_ih_l0" in self.names
        one_layer = (1, 0.0, False, self.directions == 2, False)
        return self.function(x, start, weights, has_biases, *one_layer)


BUILDERS: dict[str, Builder] = {"GRU": _gru, "LSTM": _lstm}
"""By ONNX operator."""
