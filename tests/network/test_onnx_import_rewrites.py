"""Patterns of nodes that are one layer, names of layers, and transposes that cancel."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import nn

from sigmaquant.network import capture
from sigmaquant.network.onnx import load_onnx
from tests.network.onnx_models import (
    BATCH,
    assert_same,
    floats,
    model,
    module_outputs,
    node,
    runtime,
    saved,
)

NUMBERS = {
    "half": np.float32(0.5),
    "one": np.float32(1),
    "two": np.float32(2),
    "three": np.float32(3),
    "six": np.float32(6),
    "zero": np.float32(0),
    "sixth": np.float32(1 / 6),
    "root": np.float32(math.sqrt(2)),
    "over_root": np.float32(1 / math.sqrt(2)),
    "eps": np.float32(1e-5),
}


def _imported(
    nodes: Sequence[Any],
    folder: Path,
    *shape: int,
    constants: Mapping[str, Any] | None = None,
    opset: int = 13,
) -> nn.Module:
    """The module of these nodes, after it was compared with ONNX Runtime."""
    read = {name for each in nodes for name in each.input}
    numbers = {name: value for name, value in NUMBERS.items() if name in read}
    proto = model(nodes, {"x": [BATCH, *shape]}, {**numbers, **(constants or {})}, opset=opset)
    module, x = load_onnx(saved(proto, folder)), floats(3, *shape, low=-4, high=8)
    assert_same(module_outputs(module, [x]), runtime(proto)({"x": x}))
    return module


def _kinds(module: nn.Module) -> dict[str, int]:
    """How often each class of module is there that has no modules of its own."""
    leaves = [each for each in module.modules() if not list(each.children())]
    return dict(Counter(type(each).__name__ for each in leaves))


PATTERNS: dict[str, tuple[str, list[Any]]] = {
    "silu": ("SiLU", [node("Sigmoid", "x", "s"), node("Mul", "x s")]),
    "silu turned": ("SiLU", [node("Sigmoid", "x", "s"), node("Mul", "s x")]),
    "hard swish": (
        "Hardswish",
        [node("HardSigmoid", "x", "s", alpha=1 / 6, beta=0.5), node("Mul", "x s")],
    ),
    "hard sigmoid": (
        "Hardsigmoid",
        [node("Add", "x three", "a"), node("Clip", "a zero six", "c"), node("Div", "c six")],
    ),
    "hard swish of torch": (
        "Hardswish",
        [
            node("Add", "x three", "a"),
            node("Clip", "a zero six", "c"),
            node("Mul", "x c", "m"),
            node("Div", "m six"),
        ],
    ),
    "hard swish of keras": (
        "Hardswish",
        [
            node("Add", "three x", "a"),
            node("Clip", "a zero six", "c"),
            node("Mul", "c sixth", "m"),
            node("Mul", "m x"),
        ],
    ),
    "gelu of torch": (
        "GELU",
        [
            node("Div", "x root", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "a"),
            node("Mul", "x a", "m"),
            node("Mul", "m half"),
        ],
    ),
    "gelu of keras": (
        "GELU",
        [
            node("Mul", "x half", "h"),
            node("Mul", "x over_root", "d"),
            node("Erf", "d", "e"),
            node("Add", "one e", "a"),
            node("Mul", "h a"),
        ],
    ),
    "gelu the other way": (
        "GELU",
        [
            node("Div", "x root", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "a"),
            node("Mul", "a half", "h"),
            node("Mul", "x h"),
        ],
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_one_module(name: str, tmp_path: Path) -> None:
    kind, nodes = PATTERNS[name]
    assert _kinds(_imported(nodes, tmp_path, 3, 4)) == {kind: 1}


def test_almost_patterns_stay(tmp_path: Path) -> None:
    nodes = [
        node("Div", "x two", "d"),  # not the root of two
        node("Erf", "d", "e"),
        node("Add", "e one", "a"),
        node("Mul", "x a", "m"),
        node("Mul", "m half"),
    ]
    assert "GELU" not in _kinds(_imported(nodes, tmp_path, 4))
    swish = [node("Sigmoid", "x", "s"), node("Tanh", "x", "t"), node("Mul", "t s")]
    assert "SiLU" not in _kinds(_imported(swish, tmp_path, 4))


@pytest.mark.parametrize("power", ["Pow", "Mul"])
def test_layer_norm_is_found(power: str, tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", "x", "mean", "norm/mean", axes=[-1]),
        node("Sub", "x mean", "d", "norm/sub"),
        node(power, "d two" if power == "Pow" else "d d", "square"),
        node("ReduceMean", "square", "var", axes=[2]),
        node("Add", "var eps", "v"),
        node("Sqrt", "v", "s"),
        node("Div", "d s", "n", "norm/Div"),
        node("Mul", "n scale", "m"),
        node("Add", "m shift"),
    ]
    constants = {"scale": floats(5), "shift": floats(5, seed=1)}
    module = _imported(nodes, tmp_path, 4, 5, constants=constants)
    assert _kinds(module) == {"LayerNorm": 1}


def test_scales_and_shifts_become_part_of_the_layer(tmp_path: Path) -> None:
    """As converters write batch norms: over a depthwise convolution, too."""
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("Mul", "c s", "m"),
        node("Add", "m b", "a"),
        node("Relu", "a", "r"),
        node("Conv", "r dw db", "d", "depthwise", group=4),
        node("Div", "d s", "q"),
        node("Sub", "three q", "t"),
        node("ConvTranspose", "t tw", "u", "up", group=2),
        node("Mul", "s u"),
    ]
    constants = {
        "w": floats(4, 3, 3, 3),
        "s": floats(4, 1, 1, low=0.5, high=2),
        "b": floats(1, 4, 1, 1),
        "dw": floats(4, 1, 3, 3),
        "db": floats(4),
        "tw": floats(4, 2, 2, 2),
    }
    module = _imported(nodes, tmp_path, 3, 9, 9, constants=constants)
    assert _kinds(module) == {"Conv2d": 2, "ReLU": 1, "ConvTranspose2d": 1}


def test_matmul_and_add_are_a_linear_layer(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "h", "fc/MatMul"),
        node("Add", "h b"),
    ]
    module = _imported(nodes, tmp_path, 6, 5, constants={"w": floats(5, 3), "b": floats(3)})
    layer = module.get_submodule("fc")
    assert isinstance(layer, nn.Linear)
    assert isinstance(layer.bias, nn.Parameter)
    assert layer.weight.requires_grad


def test_constants_that_are_not_per_channel_stay(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c", "conv"), node("Mul", "c s")]
    constants = {"w": floats(4, 3, 3, 3), "s": floats(4, 7, 7)}
    assert _kinds(_imported(nodes, tmp_path, 3, 9, 9, constants=constants))["WithTensor"] == 1


def test_a_layer_that_is_read_twice_keeps_its_weights(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c", "conv"), node("Mul", "c s", "m"), node("Add", "m c")]
    constants = {"w": floats(4, 3, 3, 3), "s": floats(4, 1, 1)}
    module = _imported(nodes, tmp_path, 3, 9, 9, constants=constants)
    assert torch.equal(module.get_parameter("conv.weight"), torch.from_numpy(constants["w"]))


def test_weights_that_two_layers_share_stay_shared(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x w b", "a", "first"),
        node("Gemm", "a w b", "c", "second"),
        node("Gemm", "c w other", "d", "third"),
        node("Mul", "d three"),
    ]
    constants = {"w": floats(4, 4), "b": floats(4), "other": floats(4, seed=1)}
    module = _imported(nodes, tmp_path, 4, constants=constants)
    assert _kinds(module) == {"Linear": 2, "WithNumber": 1}
    assert module.get_parameter("first.weight") is module.get_parameter("third.weight")


NHWC_TO_NCHW, NCHW_TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def test_transposes_of_channels_last_files_cancel(tmp_path: Path) -> None:
    """As tf2onnx leaves them around what works value by value, concatenates and means."""
    nodes = [
        node("Conv", "x w", "c", "a", pads=[1, 1, 1, 1]),
        node("Transpose", "c", "t", perm=NCHW_TO_NHWC),
        node("Add", "t bias", "b"),
        node("Relu", "b", "r"),
        node("Mul", "r scale", "s"),
        node("Transpose", "s", "u", perm=NHWC_TO_NCHW),
        node("Conv", "u v", "d", "b", pads=[1, 1, 1, 1]),
        node("Transpose", "d", "p", perm=NCHW_TO_NHWC),
        node("Transpose", "c", "q", perm=NCHW_TO_NHWC),
        node("Add", "p q", "sum"),
        node("Concat", "sum p", "both", axis=-1),
        node("ReduceMean", "both", axes=[1, 2], keepdims=0),
    ]
    constants = {
        "w": floats(4, 3, 3, 3),
        "bias": floats(4),
        "scale": floats(1, 1, 1, 4, seed=1),
        "v": floats(4, 4, 3, 3),
    }
    module = _imported(nodes, tmp_path, 3, 6, 6, constants=constants)
    assert "Permute" not in _kinds(module)


def test_transposes_that_do_not_cancel_are_joined(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
        node("Relu", "a", "b"),
        node("Transpose", "b", perm=[0, 2, 1, 3]),
    ]
    assert _kinds(_imported(nodes, tmp_path, 2, 3, 4)) == {"ReLU": 1, "Permute": 1}


@hypothesis.given(
    orders=st.lists(st.permutations([1, 2, 3]), min_size=1, max_size=4),
    axes=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    kinds=st.lists(
        st.sampled_from(["Relu", "Add", "Sum", "Concat", "Mean"]), min_size=4, max_size=4
    ),
)
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
def test_any_transposes_keep_the_function(
    orders: list[list[int]], axes: list[int], kinds: list[str], tmp_path_factory: Any
) -> None:
    nodes, last = [], "x"
    for i, (order, axis, kind) in enumerate(zip(orders, axes, kinds, strict=False)):
        nodes.append(node("Transpose", last, f"t{i}", perm=[0, *order]))
        nodes.append(
            {
                "Relu": node("Relu", f"t{i}", f"h{i}"),
                "Add": node("Add", f"t{i} one", f"h{i}"),
                "Sum": node("Add", f"t{i} t{i}", f"h{i}"),
                "Concat": node("Concat", f"t{i} t{i}", f"h{i}", axis=axis),
                "Mean": node("ReduceMean", f"t{i}", f"h{i}", axes=[axis]),
            }[kind]
        )
        last = f"h{i}"
    nodes.append(node("Neg", last))
    _imported(nodes, tmp_path_factory.mktemp("net"), 2, 3, 4)


def _layer_names(nodes: Sequence[Any], folder: Path, weights: Sequence[str]) -> list[str]:
    constants = {name: floats(3, 3) for name in weights}
    proto = model(nodes, {"x": [BATCH, 3]}, constants)
    return [layer.name for layer in capture(saved(proto, folder)).table.layers]


def test_layers_are_called_as_in_the_file(tmp_path: Path) -> None:
    weights = ["head.0.weight", "onnx::MatMul_7", "w", "v", "u"]
    nodes = [
        node("Gemm", "x head.0.weight", "a", "/anything/Gemm"),
        node("MatMul", "a onnx::MatMul_7", "b", "/layer1/layer1.0/fc/MatMul"),
        node("MatMul", "b w", "c", "StatefulPartitionedCall/net/dense/MatMul"),
        node("MatMul", "c v", "d", "train/forward"),
        node("MatMul", "d u"),
    ]
    names = _layer_names(nodes, tmp_path, weights)
    assert names == ["head.0", "layer1.0.fc", "net.dense", "train_.forward_", "matmul_4"]


def test_equal_names_get_numbers(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "fc"),
        node("MatMul", "a v", "b", "fc"),
        node("MatMul", "b u", "y", "fc/inner/MatMul"),
    ]
    assert _layer_names(nodes, tmp_path, ["w", "v", "u"]) == ["fc", "matmul_1", "matmul_2"]


def test_the_scopes_that_torch_notes_name_what_it_optimised(tmp_path: Path) -> None:
    layer = node("MatMul", "x w", "h", "node_MatMul_2")
    entry = layer.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'block', 'block.fc', 'linear_3']"
    assert _layer_names([layer, node("Relu", "h")], tmp_path, ["w"]) == ["block.fc"]
