"""Which float operator a table of integers stands for.

The record keeps tables and not the functions that filled them, because integers are all that most
runtimes need. Here the function is wanted; those known are tried, with the parameters that PyTorch
gives them by default, and one is taken only if it gives every entry of the table.
"""

from __future__ import annotations

import numpy as np

from sigmaquant.lowering.arithmetic import dequantize, quantize
from sigmaquant.lowering.aten import run_float_operator
from sigmaquant.lowering.program import Argument, Encoding, FloatOperator, Lookup

_TARGETS = {
    "elu": "aten.elu.default",
    "exp": "aten.exp.default",
    "gelu": "aten.gelu.default",
    "hardsigmoid": "aten.hardsigmoid.default",
    "hardswish": "aten.hardswish.default",
    "leaky_relu": "aten.leaky_relu.default",
    "relu": "aten.relu.default",
    "sigmoid": "aten.sigmoid.default",
    "silu": "aten.silu.default",
    "softplus": "aten.softplus.default",
    "sqrt": "aten.sqrt.default",
    "tanh": "aten.tanh.default",
}
"""By the name that the record keeps."""


def function_of(operator: Lookup, source: Encoding, output: Encoding) -> FloatOperator | None:
    """The float operator with the table's values; None where no known function has them all."""
    target = _TARGETS.get(operator.function.removesuffix("_"))
    if target is None:
        return None
    float_operator = FloatOperator(
        operator.name, operator.inputs, operator.output, target, (Argument(0),), {}
    )
    integers = np.arange(source.highest + 1).astype(np.uint8)
    results = run_float_operator(float_operator, [dequantize(integers, source)])
    if np.isnan(results).any():
        return None
    table = quantize(results, output, operator.name)
    return float_operator if np.array_equal(table, operator.table[: table.size]) else None
