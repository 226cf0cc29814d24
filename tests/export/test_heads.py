import dataclasses
from typing import Any

import numpy as np
import pytest

from sigmaquant.errors import DataError
from sigmaquant.export.heads import HEAD_MARGIN, with_integer_heads
from sigmaquant.lowering.program import Dequantize, Linear
from sigmaquant.lowering.reference import run_reference

Builder = Any


def test_a_float_head_becomes_integers_that_cover_its_results(builder: Builder) -> None:
    build = builder()
    value = build.quantize(build.input((6,)))
    program = build.program(build.linear(value, 5, bits=4, to_float=True))
    inputs = build.batch(40)
    settled = with_integer_heads(program, inputs)
    head, dequantize = settled.operators[-2:]
    assert isinstance(head, Linear)
    assert isinstance(dequantize, Dequantize)
    assert settled.outputs == program.outputs == (dequantize.output,)
    (expected,) = run_reference(program, inputs).values()
    (actual,) = run_reference(settled, inputs).values()
    encoding = settled.values[head.output].encoding
    assert encoding is not None
    assert np.abs(actual - expected).max() <= 0.501 * encoding.scale
    reach = encoding.scale * (0 - encoding.zero_point), encoding.scale * (255 - encoding.zero_point)
    assert reach[0] == pytest.approx(HEAD_MARGIN * expected.min(), abs=encoding.scale)
    assert reach[1] == pytest.approx(HEAD_MARGIN * expected.max(), abs=encoding.scale)


@pytest.mark.parametrize(("sign", "zero_point"), [(1, 0), (-1, 255), (0, 0)])
def test_heads_of_one_sign_keep_zero_in_their_range(
    builder: Builder, sign: int, zero_point: int
) -> None:
    build = builder()
    head = build.linear(build.quantize(build.input((6,))), 5, to_float=True)
    operator = build.operators[-1]
    weights = dataclasses.replace(operator.weights, values=0 * operator.weights.values)
    bias = np.full(5, 100 * sign, np.int32)
    build.operators[-1] = dataclasses.replace(operator, weights=weights, bias=bias)
    program = build.program(head)
    settled = with_integer_heads(program, build.batch())
    encoding = settled.values[settled.operators[-2].output].encoding
    assert encoding is not None
    assert encoding.zero_point == zero_point
    assert encoding.scale > 0


def test_a_program_that_leaves_nothing_open_stays(builder: Builder) -> None:
    build = builder()
    value = build.linear(build.quantize(build.input((6,))), 5, bits=4)
    program = build.program(build.dequantize(value))
    assert with_integer_heads(program, build.batch()) == program


def test_a_head_needs_inputs_that_fit(builder: Builder) -> None:
    build = builder()
    program = build.program(build.linear(build.quantize(build.input((6,))), 5, to_float=True))
    with pytest.raises(DataError, match="no data for the inputs"):
        with_integer_heads(program, {})
