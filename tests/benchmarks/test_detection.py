"""Boxes from a detector's outputs, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.detection import (
    COCO_CATEGORIES,
    Detections,
    average_precision,
    detected,
    prepared,
    seen_by_detector,
)

SIZE = 32
CELLS = 16 + 4 + 1


def _output(**cells: tuple[list[float], list[float]]) -> np.ndarray:
    """An output of three classes: box, then scores of the classes, by number of the cell."""
    output = np.zeros((CELLS, 8), np.float32)
    for name, (box, scores) in cells.items():
        output[int(name.removeprefix("c"))] = [*box, 1.0, *scores]
    return output


def test_cells_of_all_strides_are_decoded() -> None:
    output = _output(
        c5=([0.5, 0.5, 0, 0], [0.9, 0, 0]), c20=([0.5, 0.25, 0, -np.log(2)], [0, 0, 0.8])
    )
    found = detected(output, SIZE)
    # Cell 5 of the first grid is column 1, row 1 of stride 8; cell 20 the only one of stride 32.
    np.testing.assert_allclose(found.boxes, [[8, 8, 16, 16], [0, 0, 32, 16]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.8])
    assert found.classes.tolist() == [0, 2]


def test_overlapping_boxes_of_one_class_are_one() -> None:
    near = {"c5": ([0.5, 0.5, 0, 0], [0.6, 0, 0]), "c6": ([-0.5, 0.5, 0, 0], [0.9, 0.7, 0])}
    found = detected(_output(**near), SIZE)
    assert list(zip(found.classes.tolist(), found.scores.round(1).tolist(), strict=True)) == [
        (0, np.float32(0.9).round(1)),
        (1, np.float32(0.7).round(1)),
    ]


def test_weak_boxes_do_not_count() -> None:
    assert len(detected(_output(c0=([0, 0, 0, 0], [0.001, 0, 0])), SIZE).scores) == 0


def test_images_are_squashed_and_turned_to_bgr() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[..., 0] = 255
    batch = prepared([image], SIZE)
    assert batch.shape == (1, 3, SIZE, SIZE)
    assert batch[0, :, 0, 0].tolist() == [0, 0, 255]


def test_categories_are_those_of_coco() -> None:
    assert len(COCO_CATEGORIES) == 80
    assert (COCO_CATEGORIES[0], COCO_CATEGORIES[79]) == (1, 90)


def truth_of(images: tuple[int, ...], folder: Path) -> Path:
    """Annotations with one box in each image."""
    truth = {
        "info": {},
        "images": [{"id": number, "width": 64, "height": 32} for number in images],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [16, 8, 16, 8],
                "area": 128,
                "iscrowd": 0,
            }
            for number in images
        ],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(truth))
    return path


def one_box(left: float) -> Detections:
    box = np.array([[left, 8, left + 8, 16]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([0]))


@pytest.mark.parametrize(("left", "precision"), [(8.0, 1.0), (30.0, 0.0)])
def test_precision_in_pixels_of_the_image(left: float, precision: float, tmp_path: Path) -> None:
    found = average_precision(truth_of((7,), tmp_path), [7], [one_box(left)], SIZE)
    assert found == pytest.approx(precision)


def test_objects_in_other_images_do_not_count_as_missed(tmp_path: Path) -> None:
    found = average_precision(truth_of((7, 8), tmp_path), [7], [one_box(8.0)], SIZE)
    assert found == pytest.approx(1.0)


def test_boxes_count_where_the_float_network_sees_something() -> None:
    reference = torch.zeros(1, 2, 4 + 1 + 3)
    reference[0, 0, 4:6] = 0.81
    outputs = torch.full((1, 2, 8), 0.25, requires_grad=True)
    boxes, scores = seen_by_detector((outputs,), (reference,))
    torch.testing.assert_close(boxes[0], torch.tensor([[0.25 * 0.81] * 4, [0.0] * 4]))
    torch.testing.assert_close(scores, torch.full((1, 2, 3), 0.25**2))
    (boxes.sum() + scores.sum()).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
