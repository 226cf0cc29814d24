from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export.c.packing import pack_matrix, pack_row, row_words, unpack_row
from sigmaquant.layers import WIDTHS


def integers(seed: int, bits: int, *shape: int) -> np.ndarray:
    half = 2 ** (bits - 1)
    return np.random.default_rng(seed).integers(-half, half, shape).astype(np.int8)


@given(
    bits=st.sampled_from(WIDTHS),
    length=st.integers(0, 200),
    seed=st.integers(0, 2**16),
)
def test_every_width_and_length_comes_back(bits: int, length: int, seed: int) -> None:
    row = integers(seed, bits, length)
    words = pack_row(row, bits)
    assert words.dtype == np.uint32
    assert len(words) == row_words(length, bits)
    assert np.array_equal(unpack_row(words, length, bits), row)


@pytest.mark.parametrize("bits", WIDTHS)
def test_whole_blocks_have_no_gaps(bits: int) -> None:
    assert row_words(320, bits) * 32 == 320 * bits


@pytest.mark.parametrize("bits", WIDTHS)
def test_extreme_values(bits: int) -> None:
    half = 2 ** (bits - 1)
    row = np.array([-half, half - 1] * 23, np.int8)
    assert np.array_equal(unpack_row(pack_row(row, bits), len(row), bits), row)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rows_are_interleaved_in_pairs(rows: int) -> None:
    matrix = integers(1, 3, rows, 70)
    words = pack_matrix(matrix, 3)
    size = row_words(70, 3)
    assert len(words) == rows * size
    for row, values in enumerate(matrix):
        first = row // 2 * 2
        pair = words[first * size : (first + 2) * size]
        own = pair[row - first :: 2] if len(pair) > size else pair
        assert np.array_equal(unpack_row(own, 70, 3), values)


def test_values_beyond_the_width_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="values beyond 3 bits"):
        pack_row(np.array([4], np.int8), 3)
