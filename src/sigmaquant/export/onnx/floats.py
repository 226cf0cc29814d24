"""Writers of the ATen operators that can stay float in an ONNX file of opset 13.

Tensors carry the batch as dimension 0, as in PyTorch; an operator that works along it is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.float_call import aten_key
from sigmaquant.export.onnx import (
    float_arithmetic,
    float_recurrent,
    float_shapes,
    float_spatial,
)
from sigmaquant.export.onnx.float_call import Call
from sigmaquant.export.onnx.sheet import Sheet
from sigmaquant.lowering.program import FloatOperator

WRITERS: dict[str, Callable[[Call], None]] = {
    **float_arithmetic.WRITERS,
    **float_spatial.WRITERS,
    **float_shapes.WRITERS,
    **float_recurrent.WRITERS,
}
"""By ATen name and overload, without the underscore of operators that write over their input."""


def write_float_operator(sheet: Sheet, operator: FloatOperator) -> None:
    """Append the operator's nodes.

    Raises:
        UnsupportedError: the operator, or the way it is called, has no writer.
    """
    key = aten_key(operator)
    writer = None if key is None else WRITERS.get(key)
    if writer is None:
        raise UnsupportedError(
            f"{operator.name}: ONNX export has no form for the float operator {operator.target}"
        )
    writer(Call(operator, sheet.program, "ONNX", sheet))
