"""Samples from a folder of images, one subfolder a class.

Classes are numbered in the alphabetical order of their folders, images sorted by path. A folder
with images but no subfolders is data without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import pydantic
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sigmaquant.artifact import Frozen
from sigmaquant.errors import DataError

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

Positive = Annotated[float, pydantic.Field(gt=0)]


class ImageOptions(Frozen):
    """How an image becomes an input of (channels, height, width).

    The value of a pixel is ``(pixel * scale - mean) / std``, mean and std one number for all
    channels or one a channel.

    Attributes:
        size: (height, width) of the result; None keeps each image as it is.
        crop: part of the image, along each side, that the centred crop keeps before it is
            scaled to ``size``; 0.875 is the usual evaluation of ImageNet networks.
        mode: "RGB" for three channels, "L" for one grey channel.
        scale: factor that brings pixels of 0 .. 255 to the range that the network was trained on.
        mean: subtracted after scaling.
        std: divided by, after the mean.
    """

    size: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    crop: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    mode: Literal["RGB", "L"] = "RGB"
    scale: Positive = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)

    @pydantic.model_validator(mode="after")
    def _fits_channels(self) -> Self:
        channels = len(self.mode)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"{name} has {len(values)} numbers; images of mode {self.mode} have "
                    f"{channels} channels: give one number, or one a channel"
                )
        return self


@dataclass(frozen=True)
class ImageSamples:
    """Images on disk, decoded when they are read.

    Attributes:
        files: in order.
        labels: class of each file; None where there are no classes.
        options: how an image becomes an input.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...] | None
    options: ImageOptions

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The images at these places as one batch: (len(indices), channels, height, width)."""
        images = [read_image(self.files[index], self.options) for index in indices]
        for image, index in zip(images, indices, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{self.files[index]} has the shape {tuple(image.shape)}, another image "
                    f"{tuple(images[0].shape)}; set the size that all are scaled to"
                )
        labels = self.labels
        target = None if labels is None else torch.tensor([labels[index] for index in indices])
        return (torch.stack(images),), target


def find_images(folder: str | Path, options: ImageOptions) -> ImageSamples:
    """The images of a folder with class subfolders, or of a flat one.

    Raises:
        DataError: no such folder, or no images in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    classes = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    by_class = [_images_below(each) for each in classes]
    if any(by_class):
        files = tuple(file for images in by_class for file in images)
        labels = tuple(label for label, images in enumerate(by_class) for _ in images)
        return ImageSamples(files, labels, options)
    files = _images_below(root)
    if not files:
        raise DataError(f"no images in {root}; looked for {', '.join(sorted(_SUFFIXES))}")
    return ImageSamples(files, None, options)


def _images_below(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES))


def read_image(path: Path, options: ImageOptions) -> Tensor:
    """One image as float32 of (channels, height, width).

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert(options.mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable image: {error}") from error
    pixels = np.asarray(_cropped(image, options), dtype=np.float32)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    normalised = (pixels * np.float32(options.scale) - _row(options.mean)) / _row(options.std)
    return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()


def _row(values: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def _cropped(image: Image.Image, options: ImageOptions) -> Image.Image:
    """Its centre, of the aspect ratio of ``size``, scaled to ``size``."""
    if options.size is None:
        return image
    height, width = options.size
    if (image.height, image.width) == (height, width) and options.crop == 1.0:
        return image
    whole = (round(width / options.crop), round(height / options.crop))
    fitted = ImageOps.fit(image, whole, Image.Resampling.BILINEAR)
    left, top = (fitted.width - width) // 2, (fitted.height - height) // 2
    return fitted.crop((left, top, left + width, top + height))
