"""Runs the operators that stay float, through PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering.program import Argument, Float32Array, FloatOperator


def run_float_operator(operator: FloatOperator, inputs: Sequence[Float32Array]) -> Float32Array:
    """The operator's result on ``inputs``, as float32.

    Raises:
        UnsupportedError: PyTorch has no operator of that name.
    """
    function = _resolve(operator)
    arguments = [_to_torch(argument, inputs) for argument in operator.arguments]
    keywords = {key: _to_torch(value, inputs) for key, value in operator.keywords.items()}
    with torch.no_grad():
        result: torch.Tensor = function(*arguments, **keywords)
    return result.to(torch.float32).contiguous().numpy()


def _resolve(operator: FloatOperator) -> Any:
    """``aten.softmax.int`` to ``torch.ops.aten.softmax.int``."""
    found: Any = torch.ops
    for part in operator.target.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UnsupportedError(f"{operator.name}: PyTorch has no operator {operator.target!r}")
    return found


def _to_torch(argument: Any, inputs: Sequence[Float32Array]) -> Any:
    """Placeholders and arrays as tensors, copied: in-place operators must not reach the inputs."""
    match argument:
        case Argument(index):
            return torch.tensor(inputs[index])
        case np.ndarray():
            return torch.tensor(argument)
        case list() | tuple():
            return [_to_torch(item, inputs) for item in argument]
        case str() if argument.startswith("torch."):
            return getattr(torch, argument.removeprefix("torch."))
    return argument
