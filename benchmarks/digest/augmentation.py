"""A few hundred images, seen anew in every pass: crops, zooms and mirror images of them.

The float network answers for each of them, so nothing needs a label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

_SMALLEST_AREA = 0.5
_ASPECT = 0.1  # sides differ by so much at most


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


def _part(length: int, share: float) -> int:
    return min(length, max(1, round(length * share)))


def reused_loader(images: torch.Tensor, passes: int, batch_size: int) -> DataLoader[torch.Tensor]:
    """Shuffled, augmented batches."""
    return DataLoader(ReusedImages(images, passes), batch_size, shuffle=True)
