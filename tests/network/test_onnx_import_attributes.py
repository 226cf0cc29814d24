"""Any attributes against ONNX Runtime, and attributes that no runtime could run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sigmaquant.errors import ArtifactError, DataError, ModelError, UnsupportedError
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.network.onnx import load_onnx
from tests.network.onnx_models import (
    BATCH,
    assert_same,
    floats,
    integers,
    model,
    module_outputs,
    node,
    saved,
)

SETTINGS = hypothesis.settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.filter_too_much],
)
PADDING = st.lists(st.integers(0, 2), min_size=4, max_size=4)
PAIR = st.lists(st.integers(1, 3), min_size=2, max_size=2)
SIDE = st.integers(5, 9)


def _check(proto: Any, x: Any, folder: Path) -> None:
    """As ONNX Runtime; what it cannot run is not looked at."""
    try:
        (expected,) = OnnxRuntimeNetwork(proto.SerializeToString(), threads=1)(x)
    except (ArtifactError, DataError):
        hypothesis.reject()
    assert_same(module_outputs(load_onnx(saved(proto, folder)), [x]), [expected])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attributes")


@hypothesis.given(
    size=st.tuples(SIDE, SIDE),
    kernel=PAIR,
    strides=PAIR,
    dilations=PAIR,
    pads=PADDING,
    groups=st.sampled_from([1, 2, 4]),
    auto_pad=st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)
@SETTINGS
def test_conv(folder: Path, size: Any, kernel: Any, groups: int, **window: Any) -> None:
    if window["auto_pad"] != "NOTSET":
        del window["pads"]
        window["dilations"] = [1, 1]  # the runtime takes no others
    nodes = [node("Conv", "x w", group=groups, **window)]
    proto = model(nodes, {"x": [BATCH, 4, *size]}, {"w": floats(4, 4 // groups, *kernel)})
    _check(proto, floats(2, 4, *size), folder)


@hypothesis.given(
    size=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    kernel=PAIR,
    strides=PAIR,
    dilations=PAIR,
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    extra=st.lists(st.integers(0, 1), min_size=2, max_size=2),
)
@SETTINGS
def test_conv_transpose(folder: Path, size: Any, kernel: Any, extra: Any, **window: Any) -> None:
    reach = [max(s, d) for s, d in zip(window["strides"], window["dilations"], strict=True)]
    extra = [min(e, r - 1) for e, r in zip(extra, reach, strict=True)]
    nodes = [node("ConvTranspose", "x w b", output_padding=extra, **window)]
    constants = {"w": floats(3, 2, *kernel), "b": floats(2)}
    _check(model(nodes, {"x": [BATCH, 3, *size]}, constants), floats(2, 3, *size), folder)


@hypothesis.given(
    op_type=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(SIDE, SIDE),
    kernel=PAIR,
    strides=PAIR,
    pads=PADDING,
    ceil_mode=st.booleans(),
    counts=st.booleans(),
)
@SETTINGS
def test_pools(
    folder: Path, op_type: str, size: Any, kernel: Any, pads: Any, counts: bool, **window: Any
) -> None:
    pads = [min(pad, k - 1) for pad, k in zip(pads, [*kernel, *kernel], strict=True)]
    window["ceil_mode"] = int(window["ceil_mode"])
    if op_type == "AveragePool":
        window["count_include_pad"] = int(counts)
    nodes = [node(op_type, "x", kernel_shape=kernel, pads=pads, **window)]
    _check(model(nodes, {"x": [BATCH, 2, *size]}, opset=19), floats(2, 2, *size), folder)


@hypothesis.given(
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    transform=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rule=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
)
@SETTINGS
def test_resize_to_sizes(folder: Path, sizes: Any, mode: str, transform: str, rule: str) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest":
        attributes["nearest_mode"] = rule
    nodes = [node("Resize", "x - - sizes", **attributes)]
    proto = model(nodes, {"x": [1, 2, 5, 6]}, {"sizes": integers(1, 2, *sizes)}, opset=13)
    _check(proto, floats(1, 2, 5, 6), folder)


@hypothesis.given(
    cut=st.lists(
        st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([-3, -1, 1, 2])),
        min_size=2,
        max_size=2,
    )
)
@SETTINGS
def test_slices(folder: Path, cut: list[tuple[int, int, int]]) -> None:
    starts, ends, steps = zip(*cut, strict=True)
    constants = {
        "s": integers(*starts),
        "e": integers(*ends),
        "a": integers(1, -1),
        "t": integers(*steps),
    }
    proto = model([node("Slice", "x s e a t")], {"x": [BATCH, 4, 6]}, constants)
    _check(proto, floats(2, 4, 6), folder)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "strides of nothing": (node("Conv", "x w", strides=[0, 1]), {}, "strides is"),
    "a kernel of another size": (node("Conv", "x w", kernel_shape=[2, 2]), {}, "does not fit"),
    "groups that do not divide": (node("Conv", "x w", group=3), {}, "in 3 groups"),
    "a padding mode": (node("Conv", "x w", auto_pad="SOME"), {}, "auto_pad is 'SOME'"),
    "a bias of another size": (node("Conv", "x w b"), {"b": floats(3)}, "bias has the shape"),
    "a weight of integers": (node("Conv", "x i"), {"i": np.ones((4, 4, 1, 1), int)}, "int64"),
    "a weight that is computed": (node("Conv", "x x"), {}, "computed while the network runs"),
    "training": (
        node("BatchNormalization", "x v v v v", training_mode=1),
        {"v": floats(4)},
        "evaluation mode",
    ),
    "a norm of other channels": (
        node("BatchNormalization", "x v v v v"),
        {"v": floats(3)},
        "4 channels",
    ),
    "a pool without a kernel": (node("MaxPool", "x"), {}, "kernel_shape is missing"),
    "a pool in the padding": (
        node("MaxPool", "x", kernel_shape=[1, 1], pads=[1, 0, 0, 0]),
        {},
        "wider than its window",
    ),
    "an axis outside": (node("Softmax", "x", axis=4), {}, "axis 4 is outside"),
    "an attribute of another type": (node("Softmax", "x", axis="one"), {}, "another type than int"),
    "an order of other dimensions": (node("Transpose", "x", perm=[0, 1]), {}, "perm"),
    "a shape that does not fit": (
        node("Reshape", "x s"),
        {"s": integers(-1, 7)},
        r"does not fit the shape \[-1, 7\]",
    ),
    "two rests": (node("Reshape", "x s"), {"s": integers(-1, -1)}, "does not fit"),
    "a squeeze of more": (node("Squeeze", "x a"), {"a": integers(1)}, r"squeezes axes \[1\]"),
    "an axis twice": (node("Squeeze", "x a"), {"a": integers(1, -3)}, "name a dimension twice"),
    "pieces that do not fit": (
        node("Split", "x s", "y z", axis=1),
        {"s": integers(2, 1)},
        r"splits 4 into \[2, 1\]",
    ),
    "a part of the batch": (
        node("Slice", "x s e a"),
        {"s": integers(0), "e": integers(1), "a": integers(0)},
        "part of the batch",
    ),
    "a place outside": (node("Gather", "x i", axis=1), {"i": integers(4)}, "outside a dimension"),
    "a padded batch": (
        node("Pad", "x p"),
        {"p": integers(1, 0, 0, 0, 0, 0, 0, 0)},
        "pads the batch",
    ),
    "a reflection of more than there is": (
        node("Pad", "x p", mode="reflect"),
        {"p": integers(0, 0, 5, 0, 0, 0, 0, 0)},
        "pads 5 elements",
    ),
    "a crop and resize": (
        node("Resize", "x - s", coordinate_transformation_mode="tf_crop_and_resize"),
        {"s": np.ones(4, np.float32)},
        "coordinate_transformation_mode",
    ),
    "an antialiased resize": (
        node("Resize", "x - s", antialias=1),
        {"s": np.ones(4, np.float32)},
        "antialias is '1'",
    ),
    "a half": (node("Cast", "x", to=10), {}, "export the model in float32"),
    "a text": (node("Constant", "", value_string="text"), {}, "a text"),
    "shapes that do not broadcast": (node("Add", "x c"), {"c": floats(3)}, "broadcast"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    broken, constants, message = REFUSED[name]
    outputs = " ".join(broken.output)
    given = {"w": floats(4, 4, 1, 1), **constants}
    proto = model([broken], {"x": [BATCH, 4, 5, 5]}, given, outputs, opset=18)
    with pytest.raises((ModelError, UnsupportedError), match=message) as raised:
        load_onnx(saved(proto, tmp_path))
    assert f"({broken.op_type}), opset 18: " in str(raised.value)


RECURRENT: dict[str, tuple[str, dict[str, Any], str]] = {
    "peepholes": ("steps w r - - - - p", {}, "peepholes"),
    "coupled gates": ("steps w r", {"input_forget": 1}, "couples two gates"),
    "other activations": ("steps w r", {"activations": ["Relu", "Tanh", "Tanh"]}, "activations"),
    "a limit": ("steps w r", {"clip": 1.0}, "clip"),
    "a state": ("steps w r - - state", {}, "not zero"),
    "short sequences": ("steps w r - lengths", {}, "cut sequences short"),
    "another size": ("steps w r", {"hidden_size": 4}, r"not \(1, 16, 4\)"),
    "another direction": ("steps w r", {"direction": "sideways"}, "direction is 'sideways'"),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_that_torch_does_not_have(name: str, tmp_path: Path) -> None:
    inputs, attributes, message = RECURRENT[name]
    constants = {
        "w": floats(1, 12, 4),
        "r": floats(1, 12, 3),
        "p": floats(1, 9),
        "state": floats(1, 1, 3),
        "lengths": np.array([2], np.int32),
    }
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        node("LSTM", inputs, **{"hidden_size": 3, **attributes}),
    ]
    with pytest.raises((ModelError, UnsupportedError), match=message):
        load_onnx(saved(model(nodes, {"x": [BATCH, 5, 4]}, constants), tmp_path))


def test_a_gru_that_is_written_out_has_a_limit(tmp_path: Path) -> None:
    constants = {"w": floats(1, 9, 4), "r": floats(1, 9, 3)}
    nodes = [node("Transpose", "x", "steps", perm=[1, 0, 2]), node("GRU", "steps w r")]
    with pytest.raises(UnsupportedError, match="up to 200 and not 201; train it with reset_after"):
        load_onnx(saved(model(nodes, {"x": [BATCH, 201, 4]}, constants), tmp_path))
