from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export.c.layout import (
    Layout,
    Order,
    channels_last,
    copy_order,
    positions,
    row_major,
    strided,
)

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def stored(values: np.ndarray, layout: Layout) -> np.ndarray:
    """The memory of a value that is given row by row."""
    memory = np.zeros_like(values)
    memory[positions(layout)] = values
    return memory


def copied(order: Order, source: np.ndarray) -> np.ndarray:
    """What ``sq_copy`` does."""
    target = np.zeros_like(source)
    for place in itertools.product(*map(range, order.sizes)):
        target[np.dot(place, order.target)] = source[np.dot(place, order.source)]
    return target


def test_channels_last_is_numpys_transpose() -> None:
    image = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(
        stored(image.reshape(-1), channels_last(image.shape)), image.transpose(1, 2, 0).reshape(-1)
    )


@pytest.mark.parametrize("shape", [(7,), (5, 1, 1), (1, 4, 4), (1, 1, 6)])
def test_equal_orders_are_equal_layouts(shape: tuple[int, ...]) -> None:
    assert channels_last(shape) == row_major(shape)


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_a_copy_between_any_two_orders_of_one_shape(shape: tuple[int, ...], seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.arange(np.prod(shape))
    layouts = []
    for _ in range(2):
        axes = random.permutation(len(shape))
        inner = np.cumprod([1, *(shape[axis] for axis in axes[:-1])])
        strides = dict(zip(axes.tolist(), inner.tolist(), strict=True))
        layouts.append(strided(shape, [strides[axis] for axis in range(len(shape))]))
    order = copy_order(*layouts)
    assert order is not None
    assert order.elements == len(values)
    assert np.array_equal(copied(order, stored(values, layouts[0])), stored(values, layouts[1]))


@given(shape=SHAPES)
def test_strides_of_the_own_shape(shape: tuple[int, ...]) -> None:
    strides = channels_last(shape).strides_of(shape)
    assert strides is not None
    assert strided(shape, strides) == channels_last(shape)


def test_orders_without_common_axes_need_two_copies() -> None:
    """6 channels of 2, seen as 4 of 3: no axis can be cut at both 2 and 3."""
    assert copy_order(channels_last((6, 2)), channels_last((4, 3))) is None


def test_a_merged_dimension_has_several_strides() -> None:
    assert channels_last((6, 2, 4)).strides_of((12, 4)) is None
    assert channels_last((6, 2, 4)).strides_of((2, 3, 8)) == (3, 1, 6)
