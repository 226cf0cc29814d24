"""Softmax at the end of a network: the one operator in float that the C library computes."""

from __future__ import annotations

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.float_call import FloatCall, aten_key
from sigmaquant.lowering.program import FloatOperator, IntegerProgram

TAIL_TOLERANCE = 1e-5
"""Largest difference of a softmax, whose results are at most 1, from the reference's: no two
runtimes round an exponential alike, and a sum of a thousand of them less so."""


def check_tail(program: IntegerProgram, operator: FloatOperator) -> None:
    """Accept a softmax whose result is an output and nothing else.

    Raises:
        UnsupportedError: any other operator in float, or a softmax elsewhere.
    """
    if aten_key(operator) != "softmax.int":
        raise UnsupportedError(
            f"{operator.name} ({operator.target}) stays in float, and the C library computes in "
            "integers; end the network before it, or export ONNX"
        )
    call = FloatCall(operator, program, "C")
    source = call.source()
    if call.axis(call.argument(1, "dim")) != len(source.shape):
        call.refuse("works along another dimension than the last")
    read = [name for other in program.operators for name in other.inputs]
    if operator.output in read or source.name in program.inputs:
        call.refuse("is not the last operator behind a layer")
    if source.name not in program.outputs and read.count(source.name) > 1:
        call.refuse("is not the only reader of its input")
