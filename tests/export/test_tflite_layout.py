import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export.tflite.layout import Layout, channels_last, plain
from sigmaquant.export.tflite.packing import pack_integers

LAYOUTS = {1: [(0,)], 2: [(0, 1), (1, 0), (None, 1, 0)], 3: [(0, 1, 2), (1, 2, 0), (2, None, 0, 1)]}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, tuple[int, ...]]:
    rank = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 3)] * rank))
    return Layout(draw(st.sampled_from(LAYOUTS[rank]))), shape


@given(layouts())
def test_what_is_stored_can_be_restored(case: tuple[Layout, tuple[int, ...]]) -> None:
    layout, shape = case
    array = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    stored = layout.stored(array)
    assert stored.shape == (2, *layout.shape(shape))
    assert np.array_equal(layout.restored(stored), array)


@given(layouts(), st.randoms(use_true_random=False))
def test_a_permuted_value_has_the_same_bytes(
    case: tuple[Layout, tuple[int, ...]], random: object
) -> None:
    layout, shape = case
    order = list(range(len(shape)))
    random.shuffle(order)  # type: ignore[attr-defined]
    array = np.arange(np.prod(shape)).reshape(1, *shape)
    moved = array.transpose(0, *(axis + 1 for axis in order))
    assert np.array_equal(layout.permuted(order).stored(moved), layout.stored(array))


@pytest.mark.parametrize(("rank", "axes"), [(1, (0,)), (2, (None, 1, 0)), (3, (1, 2, 0))])
def test_channels_go_last(rank: int, axes: tuple[int | None, ...]) -> None:
    layout = channels_last(rank)
    assert layout.axes == axes
    assert layout.place(0) == len(axes)


def test_layouts_of_the_same_order_differ_in_unit_dimensions_only() -> None:
    assert plain(3).moves((8, 1, 1)) == channels_last(3).moves((8, 1, 1)) == (0,)
    assert plain(3).moves((8, 2, 1)) != channels_last(3).moves((8, 2, 1))


@given(st.sampled_from([8, 4, 2]), st.integers(1, 33), st.integers(0, 99))
def test_packed_integers_can_be_read_back(bits: int, count: int, seed: int) -> None:
    half = 2 ** (bits - 1)
    values = np.random.default_rng(seed).integers(-half, half, count).astype(np.int8)
    packed = np.frombuffer(pack_integers(values, bits), np.uint8)
    assert len(packed) == -(-count * bits // 8)
    digits = (packed[:, None] >> (np.arange(8 // bits) * bits)) & (2**bits - 1)
    read = digits.reshape(-1)[:count].astype(np.int16)
    assert np.array_equal(np.where(read >= half, read - 2 * half, read), values)
