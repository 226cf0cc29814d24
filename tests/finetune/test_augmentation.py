from __future__ import annotations

import torch

from sigmaquant.calibration import Batch
from sigmaquant.finetune import AugmentedBatches


def images(count: int = 10) -> tuple[Batch, ...]:
    """Every image one bright pixel in the middle of 16 x 16, as bright as its number plus one."""
    made = torch.zeros(count, 1, 16, 16)
    made[:, 0, 8, 8] = torch.arange(1.0, count + 1)
    return Batch((made[:6],), torch.zeros(6)), Batch((made[6:],), torch.zeros(count - 6))


def brightest(batches: AugmentedBatches) -> list[int]:
    return [int(image.max()) for batch in batches for image in batch.inputs[0]]


def test_every_pass_shows_each_sample_once_in_a_new_order() -> None:
    batches = AugmentedBatches(images(), 5)
    torch.manual_seed(0)
    first, second = brightest(batches), brightest(batches)
    assert sorted(first) == sorted(second) == list(range(1, 11))
    assert first != second
    torch.manual_seed(0)
    assert brightest(batches) == first
    assert len(batches) == 2


def test_images_are_shifted_by_an_eighth_at_most_and_lose_their_labels() -> None:
    torch.manual_seed(0)
    places = set()
    for batch in [b for _ in range(40) for b in AugmentedBatches(images(), 5)]:
        assert batch.target is None
        assert batch.inputs[0].shape == (5, 1, 16, 16)
        places |= {tuple(p.tolist()) for p in batch.inputs[0].nonzero()[:, 2:]}
    assert places == {(row, column) for row in range(6, 11) for column in range(6, 11)}


def test_mirrored_images_may_lie_on_the_other_side() -> None:
    torch.manual_seed(0)
    batches = AugmentedBatches(images(), 5, mirrored=True)
    columns = {int(c) for _ in range(20) for b in batches for c in b.inputs[0].nonzero()[:, 3]}
    assert columns == set(range(5, 11))  # 8 is mirrored to 7


def test_samples_that_are_no_images_stay_as_they_are() -> None:
    rows = torch.arange(12.0).reshape(4, 3)
    (batch,) = AugmentedBatches([Batch((rows, rows + 1))], 32, mirrored=True)
    assert sorted(batch.inputs[0].tolist()) == rows.tolist()
    assert torch.equal(batch.inputs[1], batch.inputs[0] + 1)


def test_a_batch_that_is_left_over_waits() -> None:
    batches = AugmentedBatches(images(), 4)
    assert [len(batch) for batch in batches] == [4, 4]
