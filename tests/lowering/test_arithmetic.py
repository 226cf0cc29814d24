from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.errors import DataError, UnsupportedError
from sigmaquant.lowering import arithmetic
from sigmaquant.lowering.program import Encoding

SCALES = st.floats(2**-13, 1.0, width=32)
BITS = st.integers(2, 8)


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    bits = draw(BITS)
    return Encoding(draw(SCALES), draw(st.integers(0, 2**bits - 1)), bits)


def saturated(exact: Fraction, encoding: Encoding) -> int:
    return min(max(round(exact), 0), encoding.highest)


@given(
    accumulator=st.integers(-(2**31), 2**31 - 1),
    scales=st.tuples(SCALES, SCALES),
    output=encodings(),
)
def test_requantization_is_exact_but_for_float32_near_ties(
    accumulator: int, scales: tuple[float, float], output: Encoding
) -> None:
    input_scale, weight_scale = scales
    multiplier = arithmetic.layer_multiplier(
        input_scale, np.array([weight_scale], np.float32), output.scale
    )
    result = int(arithmetic.requantize(np.array([accumulator]), multiplier, output)[0])
    real = Fraction(input_scale) * Fraction(weight_scale) / Fraction(output.scale) * accumulator
    # Four roundings, of at most 2^-24 each: product and quotient of the scales, the accumulator's
    # conversion, and its product with the multiplier.
    slack = abs(real) * Fraction(5, 2**24)
    low = saturated(real - slack + output.zero_point, output)
    high = saturated(real + slack + output.zero_point, output)
    assert low <= result <= high


@given(encoding=encodings(), steps=st.floats(-400, 400, width=32))
def test_quantization_rounds_half_to_even_and_saturates(encoding: Encoding, steps: float) -> None:
    value = np.array([np.float32(steps) * np.float32(encoding.scale)])
    quotient = Fraction(float(value[0] / np.float32(encoding.scale)))
    expected = min(max(round(quotient) + encoding.zero_point, 0), encoding.highest)
    assert arithmetic.quantize(value, encoding, "x")[0] == expected


def test_quantization_saturates_infinities_and_refuses_nan() -> None:
    encoding = Encoding(0.5, 3, 4)
    ends = np.array([-np.inf, np.inf, -1e38, 1e38], np.float32)
    assert arithmetic.quantize(ends, encoding, "x").tolist() == [0, 15, 0, 15]
    with pytest.raises(DataError, match="stem: NaN"):
        arithmetic.quantize(np.array([np.nan], np.float32), encoding, "stem")


@given(encoding=encodings(), data=st.data())
def test_dequantized_integers_quantize_to_themselves(
    encoding: Encoding, data: st.DataObject
) -> None:
    integers = np.array([data.draw(st.integers(0, encoding.highest))], np.uint8)
    real = arithmetic.dequantize(integers, encoding)
    assert real.dtype == np.float32
    assert arithmetic.quantize(real, encoding, "x").tolist() == integers.tolist()


@given(
    ratios=st.tuples(st.integers(1, 2**14), st.integers(1, 2**14)),
    fraction_bits=st.integers(0, 14),
    zero_points=st.tuples(*[st.integers(0, 255)] * 3),
    integers=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)
def test_addition_is_exact_and_rounds_once_with_the_zero_point_inside(
    ratios: tuple[int, int],
    fraction_bits: int,
    zero_points: tuple[int, int, int],
    integers: tuple[int, int],
) -> None:
    output = Encoding(0.5, zero_points[2], 8)
    centered = [np.array([q - z]) for q, z in zip(integers, zero_points, strict=False)]
    result = arithmetic.add(centered[0], centered[1], ratios, fraction_bits, output)
    total = sum(
        Fraction(int(c[0]) * r, 2**fraction_bits) for c, r in zip(centered, ratios, strict=True)
    )
    assert result[0] == saturated(total + output.zero_point, output)


def test_ratios_of_an_addition() -> None:
    left, right, output = (Encoding(scale, 0, 8) for scale in (0.375, 0.5, 0.25))
    assert arithmetic.add_ratios(left, right, output, 4, "join") == (24, 32)


def test_ratios_that_are_not_dyadic_are_refused() -> None:
    left, right, output = (Encoding(scale, 0, 8) for scale in (0.3, 0.5, 0.25))
    with pytest.raises(UnsupportedError, match=r"join: the scale ratio .* multiple of 2\^-14"):
        arithmetic.add_ratios(left, right, output, 14, "join")


def test_ratios_beyond_the_exact_bits_of_float32_are_refused() -> None:
    left, right, output = (Encoding(scale, 0, 8) for scale in (2.0, 2.0, 1.0))
    with pytest.raises(UnsupportedError, match=r"join: .*use fewer fraction bits"):
        arithmetic.add_ratios(left, right, output, 14, "join")
    assert arithmetic.add_ratios(left, right, output, 13, "join") == (2**14, 2**14)
