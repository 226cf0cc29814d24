"""Scales and biases in 16 bits: what they move, what files hold, what the runtime makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export import export_onnx
from sigmaquant.export.half_precision import with_half_precision
from sigmaquant.export.onnx import parameters
from sigmaquant.export.onnx.graph import initializers, read_nodes
from sigmaquant.export.onnx.model import build_model, write_onnx
from sigmaquant.export.onnx.parameters import stored_parameter_bytes
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.lowering.program import Encoding, IntegerProgram, Linear, Value, Weights

INT32_MAX = 2**31 - 1


@pytest.fixture
def free_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if operators took no bytes, so that small networks have them too."""
    monkeypatch.setattr(parameters, "_OPERATOR_BYTES", 0)


def linear_program(
    scales: list[float], biases: list[int], values: np.ndarray | None = None
) -> IntegerProgram:
    """One layer on integers, with as many inputs as ``values`` have columns."""
    if values is None:
        values = np.ones((len(scales), 1), np.int8)
    weights = Weights("layer", 8, values, np.array(scales, np.float32))
    layer = Linear("layer", ("q",), "y", weights, np.array(biases, np.int32))
    given = Value("q", (values.shape[1],), Encoding(0.5, 3, 8))
    found = Value("y", (len(scales),), Encoding(0.25, 7, 8))
    return IntegerProgram("Net", {"q": given, "y": found}, (layer,), ("q",), ("y",))


def layer_of(program: IntegerProgram) -> Linear:
    (operator,) = program.operators
    assert isinstance(operator, Linear)
    return operator


def significant_bits(number: float) -> int:
    numerator, _ = float(number).as_integer_ratio()
    return len(bin(abs(numerator)).rstrip("0")) - 2


scales = st.floats(2.0**-30, 2.0**10, width=32)
biases = st.integers(-(2**26), 2**26)


@given(channels=st.lists(st.tuples(scales, biases), min_size=1, max_size=9))
def test_scales_and_biases_keep_eleven_bits(channels: list[tuple[float, int]]) -> None:
    before = layer_of(linear_program(*map(list, zip(*channels, strict=True))))
    after = layer_of(with_half_precision(linear_program(*map(list, zip(*channels, strict=True)))))
    assert after.bias.dtype == np.int32
    assert after.weights.scales.dtype == np.float32
    assert max(map(significant_bits, [*after.weights.scales, *after.bias])) <= 11
    np.testing.assert_allclose(after.weights.scales, before.weights.scales, rtol=2**-11)
    # The real bias: to its own precision and half a step of the accumulator.
    moved = after.bias * after.weights.scales.astype(float)
    wanted = before.bias * before.weights.scales.astype(float)
    assert np.all(np.abs(moved - wanted) <= 2**-11 * np.abs(wanted) + after.weights.scales / 2)


def test_channels_without_weights_take_their_layers_largest_scale() -> None:
    program = linear_program([0.5, 2.0**-40], [8, 2**30], np.array([[1], [0]], np.int8))
    layer = layer_of(with_half_precision(program))
    assert layer.weights.scales.tolist() == [0.5, 0.5]
    assert layer.bias.tolist() == [8, 0]  # 2^30 steps of 2^-40 are a fraction of a step


def test_accumulators_stay_within_int32() -> None:
    values = np.full((2, 4), 127, np.int8)
    most = INT32_MAX - 4 * 127 * 255
    # A scale that is rounded down makes the bias larger, and eleven bits would round it up.
    scale = float(np.float32(1 + 2**-12 - 2**-20))
    layer = layer_of(with_half_precision(linear_program([scale, 1.0], [most, -most], values)))
    assert np.all(np.abs(layer.bias.astype(np.int64)) + 4 * 127 * 255 <= INT32_MAX)
    np.testing.assert_allclose(layer.bias, [most, -most], rtol=2**-10)


@pytest.mark.usefixtures("free_operators")
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_are_bit_for_bit_the_reference(
    random_case: Callable[[int], Any], check_in_code: Callable[..., None], seed: int
) -> None:
    program, inputs = random_case(seed)
    check_in_code(with_half_precision(program), inputs)


@pytest.mark.usefixtures("free_operators")
def test_the_runtime_converts_them_when_it_loads_the_file(
    random_case: Callable[[int], Any], tmp_path: Path
) -> None:
    program = with_half_precision(random_case(0)[0])
    kernels = []
    for coded in (False, True):
        write_onnx(program, tmp_path / "net.onnx", coded=coded)
        OnnxRuntimeNetwork(tmp_path / "net.onnx", optimized=tmp_path / "optimized.onnx")
        kernels.append(Counter(node.kind for node in read_nodes(tmp_path / "optimized.onnx")))
    assert kernels[0] == kernels[1]


@pytest.mark.parametrize("coded", [False, True])
def test_a_file_holds_what_is_said_of_them(coded: bool) -> None:
    program = with_half_precision(linear_program([0.1] * 400, [1000] * 400))
    stored = stored_parameter_bytes(program, coded=coded)
    assert stored == 400 * (4 if coded else 8)
    arrays = initializers(build_model(program, coded=coded)).values()
    types = (np.float16,) if coded else (np.float32, np.int32)
    assert (
        sum(array.nbytes for array in arrays if array.dtype in types and array.size > 9) == stored
    )


def test_parameters_that_16_bits_do_not_hold_stay_as_they_are() -> None:
    program = linear_program([0.1] * 400, [1001 + 2**20] * 400)
    assert stored_parameter_bytes(program, coded=True) == 400 * 8
    scales_only = linear_program([0.125] * 400, [1001 + 2**20] * 400)
    assert stored_parameter_bytes(scales_only, coded=True) == 400 * 6


def test_few_parameters_are_not_worth_the_operators() -> None:
    program = with_half_precision(linear_program([0.1] * 40, [1000] * 40))
    assert stored_parameter_bytes(program, coded=True) == 40 * 8


def test_an_exported_file_is_compared_with_the_coarser_program(
    random_case: Callable[[int], Any], tmp_path: Path, free_operators: None
) -> None:
    program, inputs = random_case(1)
    found = export_onnx(program, tmp_path / "net.onnx", inputs, coded=True)
    assert found.verified
    assert found.differing == 0


def test_programs_without_layers_stay_the_same() -> None:
    program = linear_program([1.0], [0])
    empty = replace(program, operators=())
    assert with_half_precision(empty) == empty


def test_channels_without_weights_do_not_count_by_their_own_scales() -> None:
    program = linear_program([0.5, 2.0**30], [8, 1], np.array([[1], [0]], np.int8))
    assert layer_of(with_half_precision(program)).weights.scales.tolist() == [0.5, 0.5]
    empty = linear_program([0.25, 0.5], [8, 4], np.zeros((2, 1), np.int8))
    layer = layer_of(with_half_precision(empty))
    assert layer.weights.scales.tolist() == [0.5, 0.5]
    assert layer.bias.tolist() == [4, 4]
