"""Runs the operators that stay float, through PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering.program import Argument, BatchSize, Float32Array, FloatOperator


def run_float_operator(operator: FloatOperator, inputs: Sequence[Float32Array]) -> Float32Array:
    """The operator's result on ``inputs``, as float32.

    Raises:
        UnsupportedError: PyTorch has no operator of that name.
    """
    function = _resolve(operator)
    given = [_to_torch(argument, inputs) for argument in operator.arguments]
    keywords = {key: _to_torch(value, inputs) for key, value in operator.keywords.items()}
    schema = function._schema.arguments[: len(given)]
    positional = [item for item, slot in zip(given, schema, strict=True) if not slot.kwarg_only]
    named = {slot.name: item for item, slot in zip(given, schema, strict=True) if slot.kwarg_only}
    if operator.target in _RECURRENT:
        positional[1] = _zero_state(operator.target, positional)
    with torch.no_grad():
        returned: Any = function(*positional, **named, **keywords)
    result: torch.Tensor = returned[0] if operator.target in _RECURRENT else returned
    return result.to(torch.float32).contiguous().numpy()


_RECURRENT = ("aten.gru.input", "aten.lstm.input")


def _zero_state(target: str, positional: Sequence[Any]) -> Any:
    """What a recurrent layer starts from; an LSTM has a second state, of its cells."""
    x, _, weights, _, layers, _, _, two_ways, _ = positional
    hidden = weights[1].shape[1]
    zeros = x.new_zeros((1 + two_ways) * layers, len(x), hidden)
    return [zeros, zeros] if target == "aten.lstm.input" else zeros


def _resolve(operator: FloatOperator) -> Any:
    """``aten.softmax.int`` to ``torch.ops.aten.softmax.int``."""
    found: Any = torch.ops
    for part in operator.target.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, torch._ops.OpOverload):
        raise UnsupportedError(f"{operator.name}: PyTorch has no operator {operator.target!r}")
    return found


def _to_torch(argument: Any, inputs: Sequence[Float32Array]) -> Any:
    """Placeholders and arrays as tensors, copied: in-place operators must not reach the inputs."""
    match argument:
        case Argument(index):
            return torch.tensor(inputs[index])
        case BatchSize():
            return len(inputs[0])
        case np.ndarray():
            return torch.tensor(argument)
        case list() | tuple():
            return [_to_torch(item, inputs) for item in argument]
    return argument
