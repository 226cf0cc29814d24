"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from sigmaquant.data.images import ImageOptions, find_images, read_image
from sigmaquant.errors import DataError


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    paint(tmp_path / "dog" / "b.png", (0, 255, 0))
    paint(tmp_path / "cat" / "z.png", (255, 0, 0))
    paint(tmp_path / "cat" / "a" / "y.PNG", (0, 0, 255))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_classes_and_files_in_sorted_order(classes: Path) -> None:
    samples = find_images(classes, ImageOptions())
    (images,), target = samples.read(range(len(samples)))
    assert target is not None
    assert target.tolist() == [0, 0, 1]
    assert images.shape == (3, 3, 4, 6)
    assert images[:, :, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_an_empty_class_keeps_its_number(classes: Path) -> None:
    (classes / "bird").mkdir()
    assert find_images(classes, ImageOptions()).labels == (1, 1, 2)


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    paint(tmp_path / "one.png", (1, 2, 3))
    samples = find_images(tmp_path, ImageOptions())
    assert samples.labels is None
    assert samples.read([0])[1] is None


def test_normalisation(tmp_path: Path) -> None:
    paint(tmp_path / "one.png", (255, 51, 0))
    options = ImageOptions(mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 2.0))
    pixel = read_image(tmp_path / "one.png", options)[:, 0, 0]
    torch.testing.assert_close(pixel, torch.tensor([1.0, 1.0, 0.0]))


def test_grey_has_one_channel(tmp_path: Path) -> None:
    paint(tmp_path / "one.png", (255, 255, 255))
    image = read_image(tmp_path / "one.png", ImageOptions(mode="L", scale=1.0))
    assert image.shape == (1, 4, 6)
    assert image.max() == 255


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_size_keeps_the_aspect_ratio_and_the_centre(tmp_path: Path, crop: float) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    image = read_image(tmp_path / "wide.png", ImageOptions(size=(8, 8), crop=crop))
    assert image.shape == (3, 8, 8)
    assert image.min() == 1.0


def test_reading_twice_gives_the_same(classes: Path) -> None:
    options = ImageOptions(size=(3, 5))
    first, second = (find_images(classes, options).read([0, 1])[0][0] for _ in range(2))
    assert torch.equal(first, second)


def test_different_sizes_ask_for_a_size(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "1.png", (0, 0, 0), (4, 4))
    paint(tmp_path / "a" / "2.png", (0, 0, 0), (5, 5))
    with pytest.raises(DataError, match=r"2\.png has the shape .* set the size"):
        find_images(tmp_path, ImageOptions()).read([0, 1])


def test_unreadable_image(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken\.png is not a readable image"):
        find_images(tmp_path, ImageOptions()).read([0])


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in"):
        find_images(tmp_path, ImageOptions())
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "absent", ImageOptions())


@pytest.mark.parametrize(
    "options",
    [
        {"mean": (0.1, 0.2)},
        {"mode": "L", "std": (0.1, 0.2, 0.3)},
        {"std": (0.0,)},
        {"size": (0, 3)},
        {"crop": 1.5},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        ImageOptions(**options)  # type: ignore[arg-type]
