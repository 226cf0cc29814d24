import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export.onnx.planes import pack_planes, unpack_planes


@st.composite
def levels(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    bits = draw(st.integers(1, 8))
    half = 2 ** (bits - 1)
    values = draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=70))
    return np.array(values, np.int8), bits


@given(case=levels())
def test_planes_hold_the_integers_in_true_size(case: tuple[np.ndarray, int]) -> None:
    values, bits = case
    planes = pack_planes(values, bits)
    assert planes.shape == (bits, -(-values.size // 8))
    unpacked = unpack_planes(planes, values.size)
    assert unpacked.dtype == np.int8
    assert np.array_equal(unpacked, values)


@given(case=levels(), data=st.data())
def test_bit_j_of_byte_i_in_plane_k_is_bit_k_of_integer_8i_plus_j(
    case: tuple[np.ndarray, int], data: st.DataObject
) -> None:
    values, bits = case
    index = data.draw(st.integers(0, values.size - 1))
    column = pack_planes(values, bits)[:, index // 8] >> (index % 8) & 1
    assert sum(int(bit) << k for k, bit in enumerate(column)) == int(values[index]) + 2 ** (
        bits - 1
    )


def test_the_shape_of_the_weights_does_not_matter() -> None:
    values = np.arange(-4, 4, dtype=np.int8)
    assert np.array_equal(pack_planes(values.reshape(2, 2, 2), 3), pack_planes(values, 3))


@pytest.mark.parametrize("value", [-5, 4])
def test_integers_beyond_the_width_are_caught(value: int) -> None:
    with pytest.raises(AssertionError, match="beyond 3 bits"):
        pack_planes(np.array([value], np.int8), 3)
