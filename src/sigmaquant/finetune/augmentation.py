"""A few hundred samples as training data: shuffled, and images moved, in every pass anew.

The float network answers whatever it is shown, so labels are not needed and an image that was moved
is one more image to learn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sigmaquant.calibration import Batch, samples_of

_BATCH_SIZE = 32  # small: of a few hundred samples, an epoch should make ten steps
_LARGEST_SHIFT = 1 / 8  # of the side, as the crops of He et al. 2016, section 4.2


class AugmentedBatches:
    """Samples as unlabelled batches, drawn from torch's generator in each pass.

    Inputs of shape (batch, channels, height, width) are shifted by up to an eighth of their side in
    each direction; what comes in repeats the edge. Networks with several inputs, or others than
    images, see their samples as they are.

    Args:
        samples: such as the calibration data.
        batch_size: samples in each batch, by default 32; those left over wait for another pass.
        mirrored: whether images mean the same in a mirror.
    """

    def __init__(
        self, samples: Sequence[Batch], batch_size: int | None = None, *, mirrored: bool = False
    ) -> None:
        inputs = range(len(samples[0].inputs))
        self._inputs = tuple(torch.cat([batch.inputs[i] for batch in samples]) for i in inputs)
        self._batch_size = min(batch_size or _BATCH_SIZE, samples_of(samples))
        self._mirrored = mirrored

    def __len__(self) -> int:
        return len(self._inputs[0]) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self._inputs[0]))
        for number in range(len(self)):
            chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
            yield Batch(self._moved(tuple(values[chosen] for values in self._inputs)))

    def _moved(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (first, *others) = inputs
        if others or first.dim() != 4 or not first.is_floating_point():
            return inputs
        return (torch.stack([self._moved_image(image) for image in first]),)

    def _moved_image(self, image: Tensor) -> Tensor:
        """One image (channels, height, width), shifted and perhaps mirrored."""
        height, width = image.shape[1:]
        down, across = int(height * _LARGEST_SHIFT), int(width * _LARGEST_SHIFT)
        padded = F.pad(image[None], (across, across, down, down), mode="replicate")[0]
        top = int(torch.randint(2 * down + 1, ()))
        left = int(torch.randint(2 * across + 1, ()))
        moved = padded[:, top : top + height, left : left + width]
        return moved.flip(2) if self._mirrored and torch.rand(()) < 0.5 else moved
