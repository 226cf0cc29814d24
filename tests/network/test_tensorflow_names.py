"""Nodes of files that tf2onnx wrote are called as the layers of Keras that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sigmaquant.network import capture
from tests.network.onnx_models import BATCH, floats, model, node, saved

ROOT = "StatefulPartitionedCall/net_1"


def _layers(nodes: Sequence[Any], folder: Path, **weights: Any) -> list[str]:
    """Layer names of a file with these nodes; the names of weights are given by their keys."""
    names = {key: f"{name}" for key, (name, _) in weights.items()}
    constants = {names[key]: array for key, (_, array) in weights.items()}
    for each in nodes:
        each.input[:] = [names.get(name, name) for name in each.input]
    proto = model(nodes, {"x": [BATCH, 8, 8, 3]}, constants)
    proto.producer_name = "tf2onnx"
    return [layer.name for layer in capture(saved(proto, folder)).table.layers]


def test_layers_of_keras_3_lose_the_number_of_the_second_trace(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", f"{ROOT}/conv2d_1/convolution__6", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "a", f"{ROOT}/conv2d_1/convolution"),
        node("Relu", "a", "b", f"{ROOT}/conv2d_1/Relu"),
        node("Conv", "b m", "c", f"{ROOT}/batch_normalization_1/batchnorm/mul_1"),
        node("Conv", "c d", "e", f"{ROOT}/depthwise_conv2d_1/depthwise", group=4),
        node("Conv", "e f", "g", f"{ROOT}/sep_1/separable_conv2d/depthwise", group=4),
        node("Conv", "g h", "i", f"{ROOT}/sep_1/separable_conv2d"),
        node("ReduceMean", "i", "j", f"{ROOT}/pool_1/Mean", axes=[2, 3], keepdims=0),
        node("MatMul", "j k", "y", f"{ROOT}/dense_1_2/MatMul"),
    ]
    names = _layers(
        nodes,
        tmp_path,
        w=(f"{ROOT}/conv2d_1/convolution/ReadVariableOp:0", floats(4, 3, 3, 3)),
        m=(f"{ROOT}/conv2d_1_2/convolution/merged_input:0", floats(4, 4, 1, 1)),
        d=("const_fold_opt__91", floats(4, 1, 1, 1)),
        f=("const_fold_opt__93", floats(4, 1, 1, 1)),
        h=(f"{ROOT}/sep_1/separable_conv2d/ReadVariableOp_1:0", floats(6, 4, 1, 1)),
        k=(f"{ROOT}/dense_1_2/Cast/ReadVariableOp:0", floats(6, 5)),
    )
    assert names == [
        "conv2d",
        "conv2d_1",
        "depthwise_conv2d",
        "sep.depthwise",
        "sep.pointwise",
        "dense_1",
    ]


def test_layers_of_keras_2_keep_their_numbers(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "sequential/dense/Tensordot"),
        node("MatMul", "a v", "b", "sequential/inner/dense_1/MatMul"),
        node("Relu", "b", "y", "sequential/inner/dense_1/Relu"),
    ]
    weights = {"w": ("w", floats(3, 4)), "v": ("v", floats(4, 2))}
    assert _layers(nodes, tmp_path, **weights) == ["dense", "inner.dense_1"]


def test_fused_names_of_tensorflow_lite(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "net_1/fc_1/Relu;net_1/fc_1/MatMul1_prequant"),
        node("MatMul", "a v", "y", "StatefulPartitionedCall_1:0"),
    ]
    weights = {"w": ("w", floats(3, 4)), "v": ("v", floats(4, 2))}
    assert _layers(nodes, tmp_path, **weights) == ["fc", "matmul_1"]


def test_files_without_scopes_are_left_alone(tmp_path: Path) -> None:
    weights = {"w": ("w", floats(3, 4))}
    assert _layers([node("MatMul", "x w", "y", "fc_1")], tmp_path, **weights) == ["fc_1"]
