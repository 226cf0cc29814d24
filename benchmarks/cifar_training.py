"""CIFAR-10 training images as batches, augmented as in He et al. 2016, section 4.2."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.assets import LabelledImages
from benchmarks.networks.catalogue import Prepare

_MARGIN = 4
_SIDE = 32


class AugmentedImages(Dataset[tuple[torch.Tensor, int]]):
    """Random crops out of images with 4 black pixels around them, every second one mirrored.

    Drawn from torch's generator, which fine-tuning seeds for each epoch.
    """

    def __init__(self, data: LabelledImages, prepare: Prepare) -> None:
        margins = ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
        self._padded = np.pad(data.images, margins)
        self._labels = data.labels
        self._prepare = prepare

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """One prepared image, (3, 32, 32), and its class."""
        top, left = torch.randint(2 * _MARGIN + 1, (2,)).tolist()
        image = self._padded[index : index + 1, top : top + _SIDE, left : left + _SIDE]
        if torch.rand(()) < 0.5:
            image = image[:, :, ::-1]
        return self._prepare(image)[0], int(self._labels[index])


def training_loader(
    data: LabelledImages, prepare: Prepare, batch_size: int
) -> DataLoader[tuple[torch.Tensor, int]]:
    """Shuffled, augmented batches."""
    return DataLoader(AugmentedImages(data, prepare), batch_size, shuffle=True)
