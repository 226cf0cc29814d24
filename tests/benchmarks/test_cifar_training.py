from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.assets import LabelledImages
from benchmarks.cifar_training import training_loader


def raw(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))


def images_of(count: int) -> LabelledImages:
    """Images whose every pixel tells its place: red the row, green the column, blue the label."""
    rows, columns = np.meshgrid(np.arange(1, 33), np.arange(1, 33), indexing="ij")
    images = [np.stack([rows, columns, np.full((32, 32), i + 1)], axis=2) for i in range(count)]
    return LabelledImages(np.stack(images).astype(np.uint8), np.arange(count, dtype=np.int64))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_crops_are_shifted_by_at_most_four_pixels_and_half_are_mirrored() -> None:
    loader = training_loader(images_of(64), raw, batch_size=64)
    ((inputs, labels),) = list(loader)
    assert inputs.shape == (64, 3, 32, 32)
    centre = inputs[:, :, 16, 16]
    assert torch.equal(centre[:, 2], labels + 1.0)
    assert (centre[:, 0] - 17).abs().max() == 4
    mirrored = inputs[:, 1, 16, 10] > inputs[:, 1, 16, 20]
    assert 16 < int(mirrored.sum()) < 48


def test_what_lies_outside_is_black() -> None:
    ((inputs, _),) = list(training_loader(images_of(16), raw, batch_size=16))
    outside = inputs[:, 2] == 0
    assert outside.any()
    assert not inputs[:, 0][outside].any()


def test_torch_s_seed_decides_order_and_crops() -> None:
    def first_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        return next(iter(training_loader(images_of(32), raw, batch_size=8)))

    assert all(map(torch.equal, first_batch(1), first_batch(1)))
    assert not torch.equal(first_batch(1)[0], first_batch(2)[0])


def test_every_image_comes_once_an_epoch() -> None:
    loader = training_loader(images_of(30), raw, batch_size=8)
    labels = torch.cat([labels for _, labels in loader])
    assert sorted(labels.tolist()) == list(range(30))
