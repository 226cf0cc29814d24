"""YOLOX-Nano without what joins its heads, so that boxes and scores keep scales of their own.

The file ends in one tensor of all boxes and scores: with 8 bits for both, a score could only be
told from another where they differ by two hundredths.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor, nn

from benchmarks.assets import Float32Array
from benchmarks.detection import seen_by_detector
from sigmaquant.artifact import written_atomically
from sigmaquant.divergence import Outputs
from sigmaquant.network.onnx import load_onnx

PARTS = 3
"""Of each stride: boxes, the score that there is an object, scores of the classes."""


def load_detector_heads(path: Path, folder: Path) -> nn.Module:
    """The network up to its heads: (n, 3, side, side) to boxes and scores of each stride.

    Args:
        path: of the published file.
        folder: where the shorter file goes.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    inputs = [each.name for each in model.graph.input]
    heads = Extractor(model).extract_model(inputs, _heads(model.graph))
    shorter = folder / "heads.onnx"
    with written_atomically(shorter) as temporary:
        onnx.save(heads, temporary)
    return load_onnx(shorter)


def _heads(graph: onnx.GraphProto) -> list[str]:
    """What is joined to one tensor for each stride."""
    scores = {node.output[0] for node in graph.node if node.op_type == "Sigmoid"}
    joins = [n for n in graph.node if n.op_type == "Concat" and scores.issuperset(n.input[1:])]
    return [name for join in joins for name in join.input]


def joined(outputs: Sequence[Tensor]) -> Tensor:
    """The heads' results as the published file joins them: (n, cells, 5 + classes)."""
    strides = [outputs[i : i + PARTS] for i in range(0, len(outputs), PARTS)]
    return torch.cat([torch.cat(tuple(parts), 1).flatten(2) for parts in strides], 2).mT


def joined_arrays(outputs: Sequence[Float32Array]) -> Float32Array:
    """The same of arrays."""
    return np.ascontiguousarray(joined([torch.from_numpy(each) for each in outputs]).numpy())


def seen_by_heads(outputs: Outputs, reference: Outputs) -> Outputs:
    """The heads' results as they count; see ``seen_by_detector``."""
    return seen_by_detector((joined(outputs),), (joined(reference),))
