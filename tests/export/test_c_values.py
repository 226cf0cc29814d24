from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export.c.layout import channels_last, row_major
from sigmaquant.export.c.schedule import Tensor
from sigmaquant.export.c.values import stored_values, unpack_values
from sigmaquant.layers import ACTIVATION_WIDTHS, WIDTHS, container_bits
from sigmaquant.lowering.program import Encoding, Value


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """One value after the other, the lowest bit first."""
    digits = values[:, None] >> np.arange(bits) & 1
    return np.packbits(digits.reshape(-1), bitorder="little")


@given(bits=st.sampled_from((2, 4, 8)), length=st.integers(1, 50), seed=st.integers(0, 99))
def test_values_lie_side_by_side_from_the_lowest_bit_on(bits: int, length: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, length)
    memory = packed(values, bits)
    assert len(memory) == -(-length * bits // 8)
    assert np.array_equal(unpack_values(memory, bits)[:length], values)


@pytest.mark.parametrize("width", ACTIVATION_WIDTHS)
def test_a_container_holds_the_value_and_none_crosses_a_byte(width: int) -> None:
    bits = container_bits(width)
    assert width <= bits < 2 * width
    assert 16 % bits == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_a_tensor_comes_back_in_the_order_of_the_record(width: int) -> None:
    encoding = Encoding(0.5, 1, width)
    shape = (3, 5, 1)
    tensor = Tensor(Value("x", shape, encoding), channels_last(shape), "x")
    image = np.random.default_rng(0).integers(0, 2**width, shape)
    memory = packed(image.transpose(1, 2, 0).reshape(-1), tensor.bits)
    assert len(memory) == tensor.bytes
    assert np.array_equal(stored_values(memory[None], tensor), image.reshape(1, -1))


def test_floats_take_four_bytes() -> None:
    tensor = Tensor(Value("x", (2,), None), row_major((2,)), "x")
    numbers = np.float32([[1.5, -0.0]])
    assert tensor.bytes == 8
    assert np.array_equal(stored_values(numbers.view(np.uint8), tensor), numbers)
