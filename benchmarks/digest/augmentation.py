"""Few samples, seen anew in every pass: parts and mirror images of images, sounds equalised.

The float network answers for each of them, so nothing needs a label.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from sigmaquant.calibration import Batch

_SMALLEST_AREA = 0.5
_ASPECT = 0.1  # sides differ by so much at most
_TILT_DB = 2.0  # standard deviation of the gain at each of the _TILT_KNOTS frequencies
_TILT_KNOTS = 8
_JUDGING_SEED = 1_000  # fine-tuning seeds its epochs with 0, 1, ...


class ReusedImages(Dataset[torch.Tensor]):
    """A random part of each image, scaled to the whole, every second one mirrored.

    Drawn from torch's generator, which fine-tuning seeds for each epoch.

    Args:
        images: (n, channels, height, width), prepared for the network.
        passes: so often does one pass of the loader meet each image.
    """

    def __init__(self, images: torch.Tensor, passes: int) -> None:
        self._images = images
        self._passes = passes

    def __len__(self) -> int:
        return len(self._images) * self._passes

    def __getitem__(self, index: int) -> torch.Tensor:
        """One image, (channels, height, width)."""
        image = self._images[index % len(self._images)]
        height, width = image.shape[1:]
        area, aspect, top, left, mirror = torch.rand(5).tolist()
        side = (_SMALLEST_AREA + (1 - _SMALLEST_AREA) * area) ** 0.5
        stretch = 1 + _ASPECT * (aspect - 0.5)
        rows, columns = _part(height, side * stretch), _part(width, side / stretch)
        y, x = int(top * (height - rows + 1)), int(left * (width - columns + 1))
        part = image[None, :, y : y + rows, x : x + columns]
        if mirror < 0.5:
            part = part.flip(3)
        return F.interpolate(part, (height, width), mode="bilinear", antialias=True)[0]


def other_views(images: torch.Tensor, batch_size: int) -> tuple[Batch, ...]:
    """Each image once as ``ReusedImages`` shows it, the same at every call: to judge training.

    The images themselves favour a start that was rounded with them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_JUDGING_SEED)
        return tuple(Batch((views,)) for views in DataLoader(ReusedImages(images, 1), batch_size))


def _part(length: int, share: float) -> int:
    return min(length, max(1, round(length * share)))


def reused_loader(images: torch.Tensor, passes: int, batch_size: int) -> DataLoader[torch.Tensor]:
    """Shuffled, augmented batches."""
    return DataLoader(ReusedImages(images, passes), batch_size, shuffle=True)


def equalised(windows: torch.Tensor, bands: int) -> torch.Tensor:
    """Log-mel windows as another microphone would have heard them, drawn from torch's generator.

    Each gets a gain of its own at every frequency, linear between a few that are drawn at random.

    Args:
        windows: (n, frames * bands), in dB.
        bands: of the mel spectrum.
    """
    knots = _TILT_DB * torch.randn(len(windows), 1, _TILT_KNOTS)
    gains = F.interpolate(knots, bands, mode="linear", align_corners=True)[:, 0]
    return windows + gains.repeat(1, windows.shape[1] // bands)


class EqualisedWindows:
    """Shuffled batches of log-mel windows, ``equalised`` anew in each pass.

    Args:
        windows: (n, frames * bands), in dB.
        bands: of the mel spectrum.
        batch_size: windows a batch; those left over wait for another pass.
    """

    def __init__(self, windows: torch.Tensor, bands: int, batch_size: int) -> None:
        self._windows = windows
        self._bands = bands
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._windows) // self._batch_size

    def __iter__(self) -> Iterator[torch.Tensor]:
        order = torch.randperm(len(self._windows))
        for rows in order.split(self._batch_size)[: len(self)]:
            yield equalised(self._windows[rows], self._bands)
