"""Files that are quantized already: refused, or taken as float networks on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from sigmaquant.errors import ModelError, UnsupportedError
from sigmaquant.network import capture
from sigmaquant.network.onnx import load_onnx
from tests.network.onnx_models import (
    BATCH,
    floats,
    integers,
    model,
    module_outputs,
    node,
    runtime,
    saved,
)

WEIGHT = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
SCALES = floats(4, low=0.002, high=0.01)
CONSTANTS: dict[str, Any] = {
    "in": np.float32(1 / 64),
    "middle": np.uint8(128),
    "w": WEIGHT,
    "ws": SCALES,
    "wz": np.zeros(4, np.int8),
    "b": np.array([300, -200, 100, 0], np.int32),
    "bs": SCALES / 64,
    "out": np.float32(1 / 50),
    "none": np.uint8(0),
}
LAYER = [
    node("QuantizeLinear", "x in middle", "xq"),
    node("DequantizeLinear", "xq in middle", "xd"),
    node("DequantizeLinear", "w ws wz", "wd", axis=0),
    node("DequantizeLinear", "b bs", "bd", axis=0),
    node("Conv", "xd wd bd", "c", "conv"),
    # No ReLU: what is below 0 is cut off by the range.
    node("QuantizeLinear", "c out none", "cq"),
    node("MaxPool", "cq", "p", kernel_shape=[2, 2]),
    node("DequantizeLinear", "p out none"),
]


def _saved(nodes: Sequence[Any], folder: Path, constants: Mapping[str, Any] = CONSTANTS) -> Path:
    return saved(model(nodes, {"x": [BATCH, 3, 8, 8]}, constants, opset=13), folder)


def test_a_pair_file_becomes_the_network_without_rounding(tmp_path: Path) -> None:
    path = _saved(LAYER, tmp_path)
    module, x = load_onnx(path, dequantize=True), floats(5, 3, 8, 8)
    layer = module.get_submodule("conv")
    assert isinstance(layer, nn.Conv2d)
    np.testing.assert_allclose(
        layer.weight.detach().numpy(), WEIGHT * SCALES.reshape(4, 1, 1, 1), rtol=1e-6
    )
    (found,) = module_outputs(module, [x])
    (expected,) = runtime(model(LAYER, {"x": [BATCH, 3, 8, 8]}, CONSTANTS, opset=13))({"x": x})
    assert found.min() == 0
    assert np.abs(found - expected).max() < 2 / 50  # two steps of the output


def test_the_layers_are_found_and_trainable(tmp_path: Path) -> None:
    network = capture(_saved(LAYER, tmp_path), dequantize=True)
    assert [layer.name for layer in network.table.layers] == ["conv"]
    assert network.table.float_operators == ()
    module = load_onnx(_saved(LAYER, tmp_path), dequantize=True)
    assert {name for name, _ in module.named_parameters()} == {"conv.weight", "conv.bias"}


def test_one_scale_for_all_channels(tmp_path: Path) -> None:
    nodes = [node("DequantizeLinear", "w in", "wd"), node("Conv", "x wd")]
    module = load_onnx(_saved(nodes, tmp_path), dequantize=True)
    (weight,) = (p for name, p in module.named_parameters() if name.endswith("weight"))
    np.testing.assert_allclose(weight.detach().numpy(), WEIGHT / 64, rtol=1e-6)


def test_without_the_option_it_is_named(tmp_path: Path) -> None:
    message = r"net\.onnx is quantized already: .*dequantize it \(--dequantize, dequantize=True\)"
    with pytest.raises(UnsupportedError, match=message):
        load_onnx(_saved(LAYER, tmp_path))


REFUSED: dict[str, tuple[list[Any], str]] = {
    "an integer convolution": (
        [node("ConvInteger", "x w", "c", "conv"), node("Relu", "c")],
        r"'conv' \(ConvInteger\)",
    ),
    "integers that are added": (
        [node("QuantizeLinear", "x in middle", "q"), node("Add", "q q", "y", "sum")],
        r"'sum' \(Add\) computes with integers",
    ),
    "activations with a scale for each channel": (
        [node("QuantizeLinear", "x ws wz", "q", "q"), node("DequantizeLinear", "q ws wz")],
        "a scale for each channel",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_pairs_is_refused(name: str, tmp_path: Path) -> None:
    nodes, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message):
        load_onnx(_saved(nodes, tmp_path), dequantize=True)


def test_scales_that_do_not_fit(tmp_path: Path) -> None:
    nodes = [node("DequantizeLinear", "w ws", "wd", axis=1), node("Conv", "x wd")]
    with pytest.raises(ModelError, match=r"scale of \(4,\) does not fit dimension 1"):
        load_onnx(_saved(nodes, tmp_path), dequantize=True)


def test_scales_of_blocks_are_refused(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", "w s", "wd", axis=0, block_size=2),
        node("Conv", "x wd"),
    ]
    proto = model(nodes, {"x": [BATCH, 3, 8, 8]}, {"w": WEIGHT, "s": floats(2, 3, 3, 3)}, opset=21)
    with pytest.raises(UnsupportedError, match="a scale for each block"):
        load_onnx(saved(proto, tmp_path), dequantize=True)


def test_float_files_are_as_they_were(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x s")]
    module = load_onnx(_saved(nodes, tmp_path, {"s": integers(0, -1)}), dequantize=True)
    x = floats(2, 3, 8, 8)
    np.testing.assert_array_equal(module_outputs(module, [x])[0], x.reshape(2, -1))
