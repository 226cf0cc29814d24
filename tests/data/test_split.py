"""Holding back calibration samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.calibration import Batch
from sigmaquant.data import hold_back
from sigmaquant.errors import DataError


def batches(sizes: list[int], labelled: bool = True) -> list[Batch]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [
        Batch(
            inputs=(torch.arange(start, start + size)[:, None],),
            target=torch.arange(start, start + size) if labelled else None,
        )
        for start, size in zip(starts, sizes, strict=True)
    ]


def samples(parts: tuple[Batch, ...]) -> list[int]:
    return [int(value) for batch in parts for value in batch.inputs[0][:, 0]]


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.floats(0, 1),
    st.integers(0, 9),
)
def test_every_sample_is_on_one_side(sizes: list[int], fraction: float, seed: int) -> None:
    kept, held = hold_back(batches(sizes), fraction, seed)
    assert sorted(samples(kept) + samples(held)) == list(range(sum(sizes)))
    assert samples(kept)
    assert samples(held)
    for batch in (*kept, *held):
        assert batch.target is not None
        assert torch.equal(batch.target, batch.inputs[0][:, 0])
        assert len(batch.target) <= max(sizes)


def test_the_seed_draws_the_samples() -> None:
    data = batches([50, 50])
    assert samples(hold_back(data, seed=1)[1]) == samples(hold_back(data, seed=1)[1])
    assert samples(hold_back(data, seed=1)[1]) != samples(hold_back(data, seed=2)[1])
    assert len(samples(hold_back(data, 0.25)[1])) == 25


def test_unlabelled_data_stay_unlabelled() -> None:
    kept, held = hold_back(batches([4], labelled=False), 0.5)
    assert kept[0].target is None
    assert held[0].target is None


def test_a_network_of_fixed_batch_size_gets_whole_batches() -> None:
    kept, held = hold_back(batches([4] * 5), 0.3, unit=4)
    assert [len(batch) for batch in (*kept, *held)] == [4] * 5


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"^1 samples cannot be split"):
        hold_back(batches([1]))
