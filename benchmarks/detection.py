"""Objects in images: boxes from a YOLOX network's outputs, and how precise they are.

Boxes are decoded as Ge et al. 2021 (YOLOX) and its published code do it; the precision is COCO's,
by pycocotools.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from benchmarks.assets import Float32Array, Int64Array, UInt8Array
from sigmaquant.divergence import Outputs

STRIDES = (8, 16, 32)
LEAST_SCORE = 0.001
LARGEST_OVERLAP = 0.65
MOST_DETECTIONS = 100

_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_CATEGORIES = tuple(number for number in range(1, 91) if number not in _GAPS)
"""COCO's numbers of the 80 classes; ten were never used."""


@dataclass(frozen=True)
class Detections:
    """Boxes of one image, the best first.

    Attributes:
        boxes: (n, 4) left, top, right, bottom in pixels of the network's input.
        scores: (n,) 0 to 1.
        classes: (n,) class indices.
    """

    boxes: Float32Array
    scores: Float32Array
    classes: Int64Array


def prepared(images: Iterable[UInt8Array], size: int) -> Float32Array:
    """RGB images (height, width, 3) as YOLOX takes them: (n, 3, size, size), BGR, 0 to 255."""
    squashed = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
        for image in images
    ]
    return np.stack(squashed)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)


def seen_by_detector(outputs: Outputs, reference: Outputs) -> Outputs:
    """A YOLOX network's results as they count, for ``Distillation``: boxes, then scores.

    Boxes (batch, cells, 4) count as far as the float network sees something in their cell. Scores
    (batch, cells, 1 + classes) count as the classes' own, (batch, cells, classes), by which boxes
    are ranked. So the thousands of cells in which neither network sees anything weigh nothing,
    whose probabilities 8 bits round to 0.
    """
    sure = _class_scores(reference[0]).amax(-1, keepdim=True).sqrt()
    return outputs[0][..., :4] * sure, _class_scores(outputs[0])


def _class_scores(output: Tensor) -> Tensor:
    return output[..., 4:5] * output[..., 5:]


def detected(output: Float32Array, size: int) -> Detections:
    """Boxes from one image's output (cells, 5 + classes), behind its sigmoids."""
    boxes, scores = _decoded(output, size), output[:, 4:5] * output[:, 5:]
    cells, classes = np.nonzero(scores > LEAST_SCORE)
    found = scores[cells, classes]
    order = np.argsort(-found, kind="stable")
    chosen = order[_without_overlaps(boxes[cells[order]], classes[order])]
    return Detections(boxes[cells[chosen]], found[chosen], classes[chosen])


def _decoded(output: Float32Array, size: int) -> Float32Array:
    cells, strides = [], []
    for stride in STRIDES:
        side = size // stride
        y, x = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([x, y], 1))
        strides.append(np.full((side * side, 1), stride))
    stride_of = np.concatenate(strides).astype(np.float32)
    centre = (output[:, :2] + np.concatenate(cells).astype(np.float32)) * stride_of
    half = np.exp(output[:, 2:4]) * stride_of / 2
    return np.concatenate([centre - half, centre + half], 1)


def _without_overlaps(boxes: Float32Array, classes: Int64Array) -> list[int]:
    """Places of the boxes, sorted by score, that overlap no better one of their class too much."""
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left) and len(kept) < MOST_DETECTIONS:
        first, left = int(left[0]), left[1:]
        kept.append(first)
        rivals = classes[left] == classes[first]
        rivals &= _overlaps(boxes[first], boxes[left]) > LARGEST_OVERLAP
        left = left[~rivals]
    return kept


def _overlaps(box: Float32Array, others: Float32Array) -> Float32Array:
    """Intersection over union of one box with each of the others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    overlaps: Float32Array = shared / (areas - shared)
    return overlaps


def average_precision(
    annotations: Path, image_ids: Sequence[int], found: Iterable[Detections], size: int
) -> float:
    """COCO's mean average precision over overlaps of 50 to 95 %, as a fraction.

    Args:
        annotations: in COCO's JSON.
        image_ids: of the images, in order; the annotations may hold more.
        found: in each image.
        size: of the network's input, to which every image was squashed.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        rows = [
            row
            for number, detections in zip(image_ids, found, strict=True)
            for row in _rows(int(number), detections, truth.imgs[int(number)], size)
        ]
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        # Else objects in images that were not looked at would count as missed.
        evaluation.params.imgIds = [int(number) for number in image_ids]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _rows(
    number: int, detections: Detections, image: dict[str, int], size: int
) -> Iterable[dict[str, object]]:
    scale = np.array([image["width"], image["height"]] * 2) / size
    for box, score, index in zip(
        detections.boxes * scale, detections.scores, detections.classes, strict=True
    ):
        left, top, right, bottom = map(float, box)
        yield {
            "image_id": number,
            "category_id": COCO_CATEGORIES[int(index)],
            "bbox": [left, top, right - left, bottom - top],
            "score": float(score),
        }
