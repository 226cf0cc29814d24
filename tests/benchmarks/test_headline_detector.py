"""A detector's heads without what joins them, on a file of two strides written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.digest.detector import joined, joined_arrays, load_detector_heads
from sigmaquant.network.onnx import load_onnx

SIDE, CLASSES = 8, 3


def head(stride: int, channels: int, name: str, rng: np.random.Generator) -> tuple[list, list]:
    """A convolution and its weights."""
    weight = rng.standard_normal((channels, 3, stride, stride)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", f"{name}.weight"], [name], strides=[stride] * 2, kernel_shape=[stride] * 2
    )
    return [node], [numpy_helper.from_array(weight, f"{name}.weight")]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As YOLOX's own exporter writes it: heads joined, flattened, joined and turned."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for stride in (2, 4):
        names = [f"{part}{stride}" for part in ("box", "object", "class")]
        for name, channels in zip(names, (4, 1, CLASSES), strict=True):
            more, constants = head(stride, channels, name, rng)
            nodes, weights = nodes + more, weights + constants
        for name in names[1:]:
            nodes.append(helper.make_node("Sigmoid", [name], [f"{name}.score"]))
        parts = [names[0], *(f"{name}.score" for name in names[1:])]
        cells = (SIDE // stride) ** 2
        shape = np.array([-1, 5 + CLASSES, cells], np.int64)
        weights.append(numpy_helper.from_array(shape, f"shape{stride}"))
        nodes.append(helper.make_node("Concat", parts, [f"join{stride}"], axis=1))
        nodes.append(
            helper.make_node("Reshape", [f"join{stride}", f"shape{stride}"], [f"flat{stride}"])
        )
    nodes.append(helper.make_node("Concat", ["flat2", "flat4"], ["all"], axis=2))
    nodes.append(helper.make_node("Transpose", ["all"], ["output"], perm=[0, 2, 1]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 20, 5 + CLASSES])],
        weights,
    )
    path = tmp_path_factory.mktemp("detector") / "whole.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def test_heads_joined_again_are_what_the_file_gives(published: Path, tmp_path: Path) -> None:
    heads = load_detector_heads(published, tmp_path)
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, parts = load_onnx(published)(x), heads(x)
    assert len(parts) == 6
    assert expected.shape == (2, 20, 5 + CLASSES)
    torch.testing.assert_close(joined(parts), expected)
    arrays = joined_arrays([part.numpy() for part in parts])
    np.testing.assert_array_equal(arrays, joined(parts).numpy())
