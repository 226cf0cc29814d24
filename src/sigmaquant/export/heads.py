"""Integer results for layers that leave the integers, for runtimes that have no kernel for that.

The program with integer heads is again one truth: the file is written from it, and the reference
runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import (
    Dequantize,
    Encoding,
    Float32Array,
    IntegerProgram,
    Linear,
    Operator,
    Value,
)
from sigmaquant.lowering.reference import trace_reference

HEAD_MARGIN = 1.25
"""How much further than the given data a layer's float results may reach; beyond, they saturate."""
_HEAD_BITS = 8

Array = npt.NDArray[Any]


def with_integer_heads(program: IntegerProgram, inputs: Mapping[str, Array]) -> IntegerProgram:
    """The program with 8-bit integers and a ``Dequantize`` where a layer has float results.

    Args:
        program: what was lowered.
        inputs: (batch, *shape) for each input of the program. The results on them give the range,
            so they have to be real data.

    Raises:
        DataError: ``inputs`` do not fit the program.
    """
    heads = {operator.output for operator in program.operators if _is_head(program, operator)}
    if not heads:
        return program
    trace = trace_reference(program, inputs)
    encodings = {name: _covering(trace[name]) for name in heads}
    inner = {name: f"{name}/quantized" for name in heads}
    values = {
        inner[name]: Value(inner[name], program.values[name].shape, encoding)
        for name, encoding in encodings.items()
    }
    operators: list[Operator] = []
    for operator in program.operators:
        if operator.output not in heads:
            operators.append(operator)
            continue
        name, quantized = operator.output, inner[operator.output]
        operators += [replace(operator, output=quantized), Dequantize(name, (quantized,), name)]
    return replace(program, values={**program.values, **values}, operators=tuple(operators))


def _is_head(program: IntegerProgram, operator: Operator) -> bool:
    return isinstance(operator, Linear) and program.values[operator.output].encoding is None


def _covering(results: Float32Array) -> Encoding:
    """The 8-bit encoding of a range with zero in it."""
    low = HEAD_MARGIN * min(0.0, float(results.min()))
    high = HEAD_MARGIN * max(0.0, float(results.max()))
    highest = 2**_HEAD_BITS - 1
    scale = float(np.float32((high - low) / highest or 1.0))
    return Encoding(scale, int(np.clip(np.rint(-low / scale), 0, highest)), _HEAD_BITS)
