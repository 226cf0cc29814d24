"""What few samples become before they calibrate and train."""

from __future__ import annotations

import torch

from benchmarks.digest.augmentation import EqualisedWindows, equalised, other_views

BANDS, FRAMES = 16, 3


def windows(count: int) -> torch.Tensor:
    return torch.randn(count, FRAMES * BANDS, generator=torch.Generator().manual_seed(0))


def test_each_window_gets_one_smooth_gain_for_all_its_frames() -> None:
    torch.manual_seed(0)
    gains = (equalised(windows(400), BANDS) - windows(400)).reshape(400, FRAMES, BANDS)

    torch.testing.assert_close(gains, gains[:, :1].expand_as(gains), rtol=0, atol=1e-5)
    assert 1.5 < float(gains[:, 0, 0].std()) < 2.5  # dB
    assert float(gains.diff(dim=2).std()) < float(gains.std())


def test_a_pass_shows_whole_batches_of_all_windows_and_each_pass_others() -> None:
    loader = EqualisedWindows(windows(10), BANDS, batch_size=4)
    torch.manual_seed(0)
    first, second = list(loader), list(loader)

    assert [len(batch) for batch in first] == [4, 4]
    assert len(loader) == 2
    assert not torch.equal(first[0], second[0])


def test_other_views_judge_the_same_at_every_call_and_leave_the_generator_alone() -> None:
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    first, second = other_views(images, 2), other_views(images, 2)

    assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(3)))
    assert [len(batch) for batch in first] == [2, 2, 1]
    for one, other, plain in zip(first, second, images.split(2), strict=True):
        assert torch.equal(one.inputs[0], other.inputs[0])
        assert not torch.equal(one.inputs[0], plain)
