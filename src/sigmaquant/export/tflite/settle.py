"""What TensorFlow Lite needs that the record leaves open, settled as a new record.

The settled program is again one truth: the file is written from it, and the reference runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import (
    Convolution,
    Dequantize,
    Encoding,
    Float32Array,
    IntegerProgram,
    Linear,
    Operator,
    Value,
    Weights,
)
from sigmaquant.lowering.reference import trace_reference

HEAD_MARGIN = 1.25
"""How much further than the given data a layer's float results may reach; beyond, they saturate."""
_HEAD_BITS = 8
_RESTRICTED_BITS = 8

Array = npt.NDArray[Any]


def settle(program: IntegerProgram, inputs: Mapping[str, Array]) -> IntegerProgram:
    """The program with integer results everywhere and weights that TensorFlow Lite allows.

    - A layer with float results, such as the last one, gets 8-bit integers and a ``Dequantize``:
      there is no kernel from int8 to float. The range is that of its results on ``inputs``.
    - Weights of 8 bits keep to -127 .. 127, as TensorFlow Lite's quantization specification says:
      kernels for ARM add two products in int16, which -128 * -128 twice would overflow.

    Args:
        program: what was lowered.
        inputs: (batch, *shape) for each input of the program; real data is best.

    Raises:
        DataError: ``inputs`` do not fit the program.
    """
    restricted = replace(program, operators=tuple(_restricted(program)))
    heads = {operator.output for operator in program.operators if _is_head(program, operator)}
    if not heads:
        return restricted
    trace = trace_reference(restricted, inputs)
    encodings = {name: _covering(trace[name]) for name in heads}
    inner = {name: f"{name}/quantized" for name in heads}
    values = {
        inner[name]: Value(inner[name], program.values[name].shape, encoding)
        for name, encoding in encodings.items()
    }
    operators: list[Operator] = []
    for operator in restricted.operators:
        if operator.output not in heads:
            operators.append(operator)
            continue
        name, quantized = operator.output, inner[operator.output]
        operators += [replace(operator, output=quantized), Dequantize(name, (quantized,), name)]
    return replace(restricted, values={**program.values, **values}, operators=tuple(operators))


def _is_head(program: IntegerProgram, operator: Operator) -> bool:
    return isinstance(operator, Linear) and program.values[operator.output].encoding is None


def _covering(results: Float32Array) -> Encoding:
    """The 8-bit encoding of a range with zero in it."""
    low = HEAD_MARGIN * min(0.0, float(results.min()))
    high = HEAD_MARGIN * max(0.0, float(results.max()))
    highest = 2**_HEAD_BITS - 1
    scale = float(np.float32((high - low) / highest or 1.0))
    return Encoding(scale, int(np.clip(np.rint(-low / scale), 0, highest)), _HEAD_BITS)


def _restricted(program: IntegerProgram) -> Iterator[Operator]:
    """The operators with weights of 8 bits limited to -127; those of a layer stay one record."""
    limited: dict[str, Weights] = {}
    for operator in program.operators:
        if isinstance(operator, Convolution | Linear):
            weights = operator.weights
            if weights.bits == _RESTRICTED_BITS:
                lowest = np.int8(-(2 ** (_RESTRICTED_BITS - 1)) + 1)
                values = np.maximum(weights.values, lowest)
                weights = limited.setdefault(weights.layer, replace(weights, values=values))
            yield replace(operator, weights=weights)
        else:
            yield operator
