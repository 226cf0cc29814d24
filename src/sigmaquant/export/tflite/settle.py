"""What TensorFlow Lite needs that the record leaves open, settled as a new record.

The settled program is again one truth: the file is written from it, and the reference runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.export.heads import with_integer_heads
from sigmaquant.lowering.program import Convolution, IntegerProgram, Linear, Operator, Weights

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
    return with_integer_heads(restricted, inputs)


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
