from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering.arithmetic import add_ratios
from sigmaquant.lowering.dyadic import dyadic_scales
from sigmaquant.lowering.program import Encoding


def float32(value: float) -> float:
    return float(np.float32(value))


scales = st.floats(1e-6, 1e3).map(float32)
ratios = st.floats(1e-2, 300.0)


@settings(deadline=None)
@given(base=scales, left=ratios, right=ratios, zero_points=st.tuples(*[st.integers(0, 255)] * 3))
def test_quotients_are_short_fractions_and_sums_are_exact(
    base: float, left: float, right: float, zero_points: tuple[int, int, int]
) -> None:
    given_scales = {"a": float32(base * left), "b": float32(base * right), "c": base}
    moved, fraction_bits = dyadic_scales(given_scales, [("a", "c"), ("b", "c")])
    bits = fraction_bits["c"]
    assert moved["c"] == pytest.approx(base, rel=2e-6)
    for name in "ab":
        assert moved[name] == float32(moved[name])
        numerator = float(np.float32(moved[name]) / np.float32(moved["c"])) * 2**bits
        assert numerator == int(numerator) >= 1
        change = abs(moved[name] - given_scales[name]) / base
        assert change <= 8.6 * 2.0**-bits
    a, b, c = (
        Encoding(moved[name], zero, 8) for name, zero in zip("abc", zero_points, strict=True)
    )
    # What the reference and the export check before they add.
    add_ratios(a, b, c, bits, "sum")


@settings(deadline=None)
@given(
    base=scales,
    steps=st.lists(st.floats(0.05, 20.0), min_size=10, max_size=10),
    seed=st.integers(0, 2**16),
)
def test_a_chain_of_sums_moves_by_a_little_only(base: float, steps: list[float], seed: int) -> None:
    names = [f"group{i}" for i in range(11)]
    scale, given_scales = base, {names[0]: base}
    for name, step in zip(names[1:], steps, strict=True):
        scale = min(max(float32(scale * step), 1e-9), 1e9)
        given_scales[name] = scale
    pairs = list(zip(names[1:], names, strict=False))
    order = np.random.default_rng(seed).permutation(len(pairs))
    moved, fraction_bits = dyadic_scales(given_scales, [pairs[i] for i in order])
    for summand, total in pairs:
        quotient = float(np.float32(moved[summand]) / np.float32(moved[total]))
        numerator = quotient * 2 ** fraction_bits[total]
        assert numerator == int(numerator)
        change = abs(moved[summand] - given_scales[summand]) / moved[total]
        assert change <= 8.6 * 2.0 ** -fraction_bits[total]


@pytest.mark.parametrize(
    ("numerator", "mantissa"),
    [(6510, 2457607), (11578, 4816901), (3575, 3670020), (15480, 7438334), (3331, 2756611)],
)
def test_a_base_without_exact_multiples_nearby_gives_way(numerator: int, mantissa: int) -> None:
    base = float(np.int32(0x3F800000 | mantissa).view(np.float32))
    wanted = float32(base * numerator / 2**13)
    moved, fraction_bits = dyadic_scales({"a": wanted, "c": base}, [("a", "c")])
    assert moved["c"] == pytest.approx(base, rel=2e-6)
    assert moved["a"] == pytest.approx(wanted, rel=3e-3)
    numerator_found = (
        float(np.float32(moved["a"]) / np.float32(moved["c"])) * 2 ** fraction_bits["c"]
    )
    assert numerator_found == int(numerator_found)


def test_ratios_of_ordinary_size_hardly_move() -> None:
    given_scales = {"a": float32(0.013), "b": float32(0.021), "c": float32(0.029)}
    moved, fraction_bits = dyadic_scales(given_scales, [("a", "c"), ("b", "c")])
    assert fraction_bits["c"] >= 13
    for name in "ab":
        assert moved[name] == pytest.approx(given_scales[name], rel=3e-4)


def test_one_coarse_summand_does_not_spoil_other_sums() -> None:
    given_scales = {"a": 1.0, "b": float32(0.3), "fine": float32(0.03), "c": 1.0, "coarse": 85.0}
    pairs = [("coarse", "c"), ("a", "c"), ("fine", "b")]
    moved, fraction_bits = dyadic_scales(given_scales, pairs)
    assert fraction_bits["b"] > fraction_bits["c"]
    assert moved["fine"] == pytest.approx(0.03, rel=1e-3)


def test_groups_that_are_in_no_sum_stay() -> None:
    moved, fraction_bits = dyadic_scales({"a": 0.1, "b": 0.2}, [])
    assert moved == {"a": 0.1, "b": 0.2}
    assert fraction_bits == {}


def test_a_summand_too_small_to_count_gets_the_smallest_step() -> None:
    moved, fraction_bits = dyadic_scales({"a": 1e-12, "c": 1.0}, [("a", "c")])
    assert moved["a"] == 2.0 ** -fraction_bits["c"]


def test_a_sum_that_cancels_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"the sum at c is 1e\+05 times finer"):
        dyadic_scales({"a": 1e5, "c": 1.0}, [("a", "c")])
