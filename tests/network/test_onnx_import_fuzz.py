"""Files that were damaged at random end in typed errors, in little time and memory."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper

from sigmaquant.errors import SigmaQuantError
from sigmaquant.network import capture
from sigmaquant.network.onnx import load_onnx
from tests.network.onnx_models import floats, integers, model, node

FILES = 300
SLOWEST_SECONDS = 10
LARGEST_GROWTH_KIB = 2 * 2**20
HUGE = (0, -1, 2, 7, 2**20, 2**31 - 1, 2**31, 2**62, -(2**63))


def _seed_model() -> Any:
    nodes = [
        node("Conv", "x w1 b1", "c1", "conv1", pads=[1, 1, 1, 1], strides=[1, 1], group=1),
        node("BatchNormalization", "c1 s o m v", "n1", "norm"),
        node("Relu", "n1", "r1", "relu"),
        node("MaxPool", "r1", "p1", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 w2", "c2", "depthwise", group=4, auto_pad="SAME_UPPER"),
        node("Resize", "c2 - scales", "u", "resize", mode="linear"),
        node("Slice", "u starts ends axes", "cut", "slice"),
        node("Pad", "cut pads", "padded", "pad"),
        node("ConvTranspose", "padded w3", "t", "up", strides=[2, 2]),
        node("Concat", "t t", "two", "concat", axis=1),
        node("Transpose", "two", "turned", "turn", perm=[0, 2, 3, 1]),
        node("Shape", "turned", "shape", "shape"),
        node("Gather", "shape zero", "n", "gather"),
        node("Concat", "n rest", "target", "target", axis=0),
        node("Reshape", "turned target", "flat", "reshape"),
        node("ConstantOfShape", "size", "zeros", "zeros"),
        node("Add", "flat zeros", "sum", "add"),
        node("Split", "sum halves", "a b", "split", axis=1),
        node("Mul", "a b", "product", "mul"),
        node("Gemm", "product w4 b4", "g", "gemm", transB=1),
        node("Unsqueeze", "g axis", "steps", "unsqueeze"),
        node("Transpose", "steps", "first", "to_steps", perm=[1, 0, 2]),
        node("LSTM", "first w5 r5", "states", "lstm", hidden_size=3),
        node("ReduceMean", "states", "y", "mean", axes=[0, 1], keepdims=0),
    ]
    constants = {
        "w1": floats(4, 2, 3, 3), "b1": floats(4), "s": floats(4), "o": floats(4),
        "m": floats(4), "v": floats(4, low=0.5), "w2": floats(4, 1, 3, 3),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "starts": integers(1, 0), "ends": integers(5, 6),
        "axes": integers(2, 3), "pads": integers(0, 0, 1, 0, 0, 0, 1, 2), "w3": floats(4, 3, 2, 2),
        "zero": integers(0), "rest": integers(-1), "size": integers(1),
        "halves": integers(576, 576), "w4": floats(6, 576), "b4": floats(6), "axis": integers(1),
        "w5": floats(1, 12, 6), "r5": floats(1, 12, 3),
    }  # fmt: skip
    return model(nodes, {"x": ["N", 2, 8, 8]}, constants, opset=13)


def _cut(proto: Any, draw: random.Random) -> bytes:
    data: bytes = proto.SerializeToString()
    return data[: draw.randrange(len(data))]


def _flip_bytes(proto: Any, draw: random.Random) -> bytes:
    data = bytearray(proto.SerializeToString())
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def _drop_initializer(proto: Any, draw: random.Random) -> None:
    del proto.graph.initializer[draw.randrange(len(proto.graph.initializer))]


def _reshape_initializer(proto: Any, draw: random.Random) -> None:
    tensor = draw.choice(proto.graph.initializer)
    tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(HUGE)


def _fill_initializer(proto: Any, draw: random.Random) -> None:
    """Other sizes, starts, scales and weights, NaN among them."""
    tensor = draw.choice(proto.graph.initializer)
    size = len(tensor.raw_data)
    whole = tensor.data_type == TensorProto.INT64
    words = [draw.choice(HUGE).to_bytes(8, "little", signed=True) for _ in range(size // 8)]
    tensor.raw_data = b"".join(words) if whole else draw.randbytes(size)


def _retype_initializer(proto: Any, draw: random.Random) -> None:
    draw.choice(proto.graph.initializer).data_type = draw.randrange(25)


def _point_outside(proto: Any, draw: random.Random) -> None:
    tensor = draw.choice(proto.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    places = ("/etc/passwd", "../secret", "a/../../secret", "link", "absent", "", ".", "folder")
    for key, value in {
        "location": draw.choice(places),
        "length": draw.choice(("4", "-1", "")),
    }.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _resize_input(proto: Any, draw: random.Random) -> None:
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[draw.randrange(len(dims))].dim_value = draw.choice(HUGE)


def _make_circle(proto: Any, draw: random.Random) -> None:
    first, second = sorted(draw.sample(range(len(proto.graph.node)), 2))
    early, late = proto.graph.node[first], proto.graph.node[second]
    early.input[draw.randrange(len(early.input))] = late.output[0]


def _swap_inputs(proto: Any, draw: random.Random) -> None:
    one, other = draw.choice(proto.graph.node), draw.choice(proto.graph.node)
    i, j = draw.randrange(len(one.input)), draw.randrange(len(other.input))
    one.input[i], other.input[j] = other.input[j], one.input[i]


def _change_operator(proto: Any, draw: random.Random) -> None:
    kinds = ("Relu", "Conv", "Gemm", "Loop", "Softmax", "GRU", "Range", "Expand", "QLinearConv", "")
    draw.choice(proto.graph.node).op_type = draw.choice(kinds)


def _change_attribute(proto: Any, draw: random.Random) -> None:
    attribute = draw.choice([a for n in proto.graph.node for a in n.attribute])
    if attribute.type == AttributeProto.INTS and draw.random() < 0.7:
        attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(HUGE)
        return
    value = draw.choice([draw.choice(HUGE), 1e30, "text", [draw.choice(HUGE)], [0.5, -1.0]])
    attribute.CopyFrom(helper.make_attribute(attribute.name, value))


def _drop_node(proto: Any, draw: random.Random) -> None:
    del proto.graph.node[draw.randrange(len(proto.graph.node))]


def _rename_output(proto: Any, draw: random.Random) -> None:
    made = draw.choice(proto.graph.node)
    made.output[0] = draw.choice(("", "y", "x", "nowhere"))


def _change_opset(proto: Any, draw: random.Random) -> None:
    proto.opset_import[0].version = draw.choice((-1, 0, 7, 11, 18, 21, 22, 2**40))


EDITS: tuple[Callable[[Any, random.Random], bytes | None], ...] = (
    _cut,
    _flip_bytes,
    _drop_initializer,
    _reshape_initializer,
    _fill_initializer,
    _retype_initializer,
    _point_outside,
    _resize_input,
    _make_circle,
    _swap_inputs,
    _change_operator,
    _change_attribute,
    _drop_node,
    _rename_output,
    _change_opset,
)


def _damaged(seed: int) -> tuple[str, bytes]:
    """(name of the edit, bytes) of one damaged file."""
    draw = random.Random(seed)
    edit, proto = EDITS[seed % len(EDITS)], _seed_model()
    data = edit(proto, draw)
    return edit.__name__, proto.SerializeToString() if data is None else data


def _refusal(path: Path) -> str | None:
    """The message with which a file is refused, or None where it is taken."""
    try:
        load_onnx(path)
    except SigmaQuantError as error:
        return str(error)
    return None


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_the_file_itself_is_taken(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(_seed_model().SerializeToString())
    assert capture(tmp_path / "net.onnx").table.layers


@pytest.mark.parametrize("part", range(len(EDITS)))
def test_damaged_files_end_in_typed_errors(part: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    (tmp_path.parent / "secret").write_bytes(bytes(10_000))
    path, before = tmp_path / "net.onnx", _peak_kib()
    for seed in range(part, FILES, len(EDITS)):
        name, data = _damaged(seed)
        path.write_bytes(data)
        start = time.monotonic()
        message = _refusal(path)
        assert message is None or str(path) in message, (name, seed)
        assert time.monotonic() - start < SLOWEST_SECONDS, (name, seed)
    assert _peak_kib() - before < LARGEST_GROWTH_KIB
