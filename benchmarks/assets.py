"""The folder of real models and labelled data, read as arrays.

The folder is found through the environment variable ``SIGMAQUANT_ASSETS``, by default
``../shared/assets`` seen from the project's root. Its ``MANIFEST.md`` says what is in it and where
it comes from. Nothing of it is copied into the project.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from PIL import Image

from sigmaquant.errors import DataError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT_VARIABLE = "SIGMAQUANT_ASSETS"

_SHEET_ROWS, _SHEET_COLUMNS, _TILE = 20, 50, 32
_TILES_PER_SHEET = _SHEET_ROWS * _SHEET_COLUMNS
# The codec releases the interpreter lock; more threads than this gained nothing.
_DECODING_THREADS = 4


class AssetsAbsentError(DataError):
    """The folder of models and data is not there."""


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes, in the order of the asset's file.

    Attributes:
        images: (n, height, width, 3) RGB.
        labels: (n,) class indices.
    """

    images: UInt8Array
    labels: Int64Array

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> LabelledImages:
        """The first ``count``."""
        return LabelledImages(self.images[:count], self.labels[:count])

    def without_first(self, count: int) -> LabelledImages:
        """All but the first ``count``."""
        return LabelledImages(self.images[count:], self.labels[count:])


@dataclass(frozen=True)
class DetectionImages:
    """Images with objects.

    Attributes:
        images: (n, height, width, 3) RGB.
        numbers: (n,) by which the annotations know them.
        annotations: file of boxes, in COCO's JSON.
    """

    images: UInt8Array
    numbers: Int64Array
    annotations: Path


@dataclass(frozen=True)
class KeywordFeatures:
    """MLPerf Tiny's keyword set.

    Attributes:
        features: (1000, 49, 10) int8 MFCC, as the vendor's int8 network takes them.
        labels: (1000,) 0 down 1 go 2 left 3 no 4 off 5 on 6 right 7 stop 8 up 9 yes 10 silence
            11 unknown.
    """

    features: npt.NDArray[np.int8]
    labels: Int64Array


@dataclass(frozen=True)
class MachineSounds:
    """MLPerf Tiny's anomaly set.

    Attributes:
        frames: (248, 200, 128) float16 log-mel frames.
        anomalous: (248,) 1 where the machine is broken.
    """

    frames: npt.NDArray[np.float16]
    anomalous: Int64Array


def assets_folder() -> Path:
    """Where models and data lie.

    Raises:
        AssetsAbsentError: there is no such folder.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    folder = Path(given) if given else PROJECT_ROOT.parent / "shared" / "assets"
    if not (folder / "MANIFEST.md").is_file():
        how = f"{ENVIRONMENT_VARIABLE}={given}" if given else f"{ENVIRONMENT_VARIABLE} is not set"
        raise AssetsAbsentError(
            f"benchmark assets absent: no MANIFEST.md in {folder} ({how}); set "
            f"{ENVIRONMENT_VARIABLE} to the folder that holds the models and data"
        )
    return folder


def cifar10(split: str, count: int | None = None) -> LabelledImages:
    """CIFAR-10 images of "train" (49,923) or "test" (9,980); only the first ``count`` if given."""
    folder = assets_folder() / "cifar10"
    with np.load(folder / "labels.npz") as file:
        labels = file[f"{split}_label"][:count].astype(np.int64)
    sheets = -(-len(labels) // _TILES_PER_SHEET)
    paths = [folder / f"{split}_{sheet:02d}.webp" for sheet in range(sheets)]
    images = np.empty((sheets, _TILES_PER_SHEET, _TILE, _TILE, 3), np.uint8)
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        for index, tiles in enumerate(pool.map(_sheet_tiles, paths)):
            images[index] = tiles
    return LabelledImages(images.reshape(-1, _TILE, _TILE, 3)[: len(labels)], labels)


def _sheet_tiles(path: Path) -> UInt8Array:
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    grid = sheet.reshape(_SHEET_ROWS, _TILE, _SHEET_COLUMNS, _TILE, 3)
    return grid.swapaxes(1, 2).reshape(-1, _TILE, _TILE, 3)


def imagenet(name: str, indices: Sequence[int] | None = None) -> LabelledImages:
    """Images of 224 x 224 from "sample1000" or "mlperf_mobile_tiny300"; all, or those indices."""
    folder = assets_folder() / "imagenet"
    with np.load(folder / f"{name}.npz") as file:
        offsets, labels = file["offset"], file["label"].astype(np.int64)
    chosen = range(len(labels)) if indices is None else indices
    with (folder / f"{name}.jpgs").open("rb") as stream:
        images = [_jpeg_at(stream, offsets[i], offsets[i + 1]) for i in chosen]
    return LabelledImages(np.stack(images), labels[list(chosen)])


def _jpeg_at(stream: io.BufferedReader, begin: int, end: int) -> UInt8Array:
    stream.seek(begin)
    with Image.open(io.BytesIO(stream.read(end - begin))) as image:
        return np.asarray(image.convert("RGB"))


def coco_tiny300() -> DetectionImages:
    """MLPerf Mobile's 300 images with objects of COCO's categories, 300 x 300 pixels each."""
    folder = assets_folder() / "detection"
    with np.load(folder / "coco_tiny300.npz") as file:
        offsets, numbers = file["offset"], file["image_id"].astype(np.int64)
    with (folder / "coco_tiny300.jpgs").open("rb") as stream:
        images = [_jpeg_at(stream, *offsets[i : i + 2]) for i in range(len(numbers))]
    return DetectionImages(np.stack(images), numbers, folder / "coco_tiny300_annotations.json")


def mlperf_images() -> LabelledImages:
    """MLPerf Tiny's accuracy set ic01: 200 CIFAR-10 test images."""
    with np.load(assets_folder() / "mlperf_tiny" / "ic01_kws01.npz") as file:
        return LabelledImages(file["ic01_x"], file["ic01_y"].astype(np.int64))


def mlperf_keywords() -> KeywordFeatures:
    """MLPerf Tiny's accuracy set kws01."""
    with np.load(assets_folder() / "mlperf_tiny" / "ic01_kws01.npz") as file:
        return KeywordFeatures(file["kws01_x_int8"], file["kws01_y"].astype(np.int64))


def mlperf_sounds() -> MachineSounds:
    """MLPerf Tiny's accuracy set ad01."""
    with np.load(assets_folder() / "mlperf_tiny" / "ad01.npz") as file:
        return MachineSounds(file["x"], file["y"].astype(np.int64))


def expected_predictions(name: str) -> npt.NDArray[np.uint16 | np.float32]:
    """What the original fp32 network answers for each sample, such as "cifar10_resnet20"."""
    with np.load(assets_folder() / "expected_fp32_predictions.npz") as file:
        expected: npt.NDArray[np.uint16 | np.float32] = file[name]
    return expected


def weights(name: str) -> dict[str, torch.Tensor]:
    """The tensors of ``weights/NAME.safetensors``, by name."""
    return safetensors.torch.load_file(assets_folder() / "weights" / f"{name}.safetensors")
