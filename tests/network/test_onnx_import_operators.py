"""Every operator against ONNX Runtime, over the opsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigmaquant.network.onnx import load_onnx
from sigmaquant.network.onnx.operators.table import OPERATORS
from tests.network.onnx_models import (
    BATCH,
    assert_same,
    floats,
    integers,
    model,
    module_outputs,
    node,
    runtime,
    saved,
)

OLD, NEW = (11, 13, 17), (18, 21)
ALL = (11, 12, 13, 18, 21)
ENDS = (11, 21)


@dataclass(frozen=True)
class Case:
    """Nodes between ``x`` (and other inputs) and ``y``.

    Attributes:
        shapes: of one sample of every input.
        low, high: of the input's values.
    """

    nodes: Sequence[Any]
    constants: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"x": (4, 6, 5)})
    opsets: Sequence[int] = ENDS
    outputs: str = "y"
    low: float = -3.0
    high: float = 3.0


def one(op_type: str, *shape: int, opsets: Sequence[int] = ENDS, **attributes: Any) -> Case:
    """A node of one input."""
    shapes = {"x": shape or (4, 6, 5)}
    return Case([node(op_type, "x", **attributes)], shapes=shapes, opsets=opsets)


def constant(
    op_type: str, value: Any, *shape: int, first: bool = False, opsets: Sequence[int] = ENDS
) -> Case:
    """A node of an input and a constant."""
    inputs = "c x" if first else "x c"
    return Case([node(op_type, inputs)], {"c": value}, {"x": shape or (4, 6, 5)}, opsets=opsets)


def conv(
    *weight: int, shape: tuple[int, ...] = (4, 9, 8), bias: bool = True, **attributes: Any
) -> Case:
    constants = {"w": floats(*weight)}
    if bias:
        constants["b"] = floats(weight[0], seed=1)
    inputs = "x w b" if bias else "x w"
    return Case([node("Conv", inputs, **attributes)], constants, {"x": shape}, (11, 21))


def transposed(*weight: int, shape: tuple[int, ...] = (4, 5, 6), **attributes: Any) -> Case:
    channels = weight[1] * attributes.get("group", 1)
    constants = {"w": floats(*weight), "b": floats(channels, seed=1)}
    return Case([node("ConvTranspose", "x w b", **attributes)], constants, {"x": shape}, (11, 21))


def pool(op_type: str, shape: tuple[int, ...] = (3, 9, 8), **attributes: Any) -> Case:
    return Case([node(op_type, "x", **attributes)], shapes={"x": shape}, opsets=(11, 19))


def with_integers(
    op_type: str,
    opsets: Sequence[int],
    shape: tuple[int, ...] = (4, 6, 5),
    outputs: str = "y",
    lists: Mapping[str, Sequence[int]] | None = None,
    **attributes: Any,
) -> Case:
    """A node whose further inputs are lists of integers, in their order; None is left out."""
    given = lists or {}
    names = " ".join(["x", *(name if value is not None else "-" for name, value in given.items())])
    constants = {name: integers(*value) for name, value in given.items() if value is not None}
    return Case(
        [node(op_type, names, outputs, **attributes)], constants, {"x": shape}, opsets, outputs
    )


def pad(pads: Sequence[int], shape: tuple[int, ...] = (3, 5, 6), **attributes: Any) -> Case:
    return with_integers("Pad", ALL, shape, lists={"pads": pads}, **attributes)


def resize(
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    shape: tuple[int, ...] = (3, 6, 5),
    opsets: Sequence[int] = (11, 18),
    **attributes: Any,
) -> Case:
    constants: dict[str, Any] = {"roi": np.zeros(0, np.float32)}
    constants["scales"] = np.array(scales or [], np.float32)
    inputs = "x roi scales"
    if sizes is not None:
        constants["sizes"] = integers(*sizes)
        inputs += " sizes"
    nodes = [node("Resize", inputs, **attributes)]
    return Case(nodes, constants, {"x": shape}, opsets)


def rnn(
    op_type: str,
    outputs: str = "y",
    opsets: Sequence[int] = (11, 14, 21),
    biased: bool = True,
    **attributes: Any,
) -> Case:
    gates, hidden, features = {"LSTM": 4, "GRU": 3}[op_type], 5, 4
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    constants = {
        "w": floats(directions, gates * hidden, features),
        "r": floats(directions, gates * hidden, hidden, seed=1),
        "b": floats(directions, 2 * gates * hidden, seed=2),
    }
    back = [2, 0, 1, 3]
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        node(
            op_type,
            "steps w r b" if biased else "steps w r",
            outputs.replace("y", "raw"),
            hidden_size=hidden,
            **attributes,
        ),
        node("Transpose", "raw", "y", perm=back),
    ]
    return Case(nodes, constants, {"x": (6, features)}, opsets, outputs)


FOR_ONE_SAMPLE = {"flatten axis"}
"""Cases that do not say what another batch would be."""

UNARY = ("Abs", "Ceil", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "Identity", "LeakyRelu")
UNARY += ("Neg", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Tanh")
ARITHMETIC = ("Add", "Sub", "Mul", "Div")
SQUARE = {"kernel_shape": [3, 3]}
CASES: dict[str, Case] = {
    # Convolutions.
    "conv": conv(6, 4, 3, 3, pads=[1, 1, 1, 1]),
    "conv without bias": conv(6, 4, 3, 3, bias=False),
    "conv stride dilation": conv(6, 4, 3, 2, strides=[2, 1], dilations=[1, 2]),
    "conv grouped": conv(6, 2, 3, 3, group=2, kernel_shape=[3, 3]),
    "conv depthwise": conv(4, 1, 3, 3, group=4),
    "conv uneven": conv(6, 4, 3, 3, pads=[0, 1, 1, 0]),
    "conv same upper": conv(6, 4, 4, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv same lower": conv(6, 4, 4, 3, auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv valid": conv(6, 4, 3, 3, auto_pad="VALID"),
    "conv 1d": conv(6, 4, 3, shape=(4, 9), pads=[1, 0]),
    "conv 3d": conv(2, 4, 2, 2, 2, shape=(4, 4, 5, 3)),
    "transposed": transposed(4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    "transposed output padding": transposed(
        4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "transposed uneven": transposed(
        4, 3, 3, 3, strides=[2, 2], pads=[0, 1, 1, 0], output_padding=[1, 0]
    ),
    "transposed grouped": transposed(4, 3, 2, 2, group=2, dilations=[2, 1]),
    "transposed same upper": transposed(4, 3, 3, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed same lower": transposed(4, 3, 3, 3, strides=[2, 2], auto_pad="SAME_LOWER"),
    "transposed output shape": transposed(4, 3, 3, 3, strides=[2, 2], output_shape=[10, 12]),
    "transposed 1d": transposed(4, 3, 3, shape=(4, 6)),
    # Linear layers.
    "matmul": constant("MatMul", floats(5, 7)),
    "matmul of vectors": constant("MatMul", floats(6, 7), 6),
    "matmul constant first": constant("MatMul", floats(3, 6), first=True),
    "matmul stack": constant("MatMul", floats(4, 5, 2)),
    "matmul of activations": Case(
        [node("MatMul", "x z")], shapes={"x": (3, 4), "z": (4, 5)}, opsets=(11, 21)
    ),
    "matmul add": Case(
        [node("MatMul", "x w", "h"), node("Add", "b h")],
        {"w": floats(6, 7), "b": floats(7)},
        {"x": (6,)},
    ),
    "gemm": Case(
        [node("Gemm", "x w b", transB=1)],
        {"w": floats(7, 6), "b": floats(7)},
        {"x": (6,)},
    ),
    "gemm scaled": Case(
        [node("Gemm", "x w b", alpha=0.5, beta=2.0)],
        {"w": floats(6, 7), "b": floats(1, 7)},
        {"x": (6,)},
    ),
    "gemm scalar bias": Case(
        [node("Gemm", "x w b")], {"w": floats(6, 7), "b": floats(1)}, {"x": (6,)}, (11, 21)
    ),
    "gemm without bias": Case([node("Gemm", "x w")], {"w": floats(6, 7)}, {"x": (6,)}, (11, 21)),
    "gemm bias from activations": Case(
        [node("Gemm", "x w z", beta=0.5)],
        {"w": floats(6, 7)},
        {"x": (6,), "z": (7,)},
        (11, 21),
    ),
    # Normalisation.
    "batch norm": Case(
        [node("BatchNormalization", "x s b m v", epsilon=1e-3)],
        {
            "s": floats(4),
            "b": floats(4, seed=1),
            "m": floats(4, seed=2),
            "v": floats(4, low=0.5, high=2),
        },
        opsets=(11, 14, 15, 21),
    ),
    "batch norm of features": Case(
        [node("BatchNormalization", "x s b m v")],
        {name: floats(4, low=0.5, high=2, seed=i) for i, name in enumerate("sbmv")},
        {"x": (4,)},
        (11, 15),
    ),
    "layer norm": Case(
        [node("LayerNormalization", "x s b", epsilon=1e-4)],
        {"s": floats(5), "b": floats(5, seed=1)},
        opsets=(17, 18, 21),
    ),
    "layer norm of two axes": Case(
        [node("LayerNormalization", "x s", axis=-2)], {"s": floats(6, 5)}, opsets=(17, 21)
    ),
    # Pools.
    "max pool": pool("MaxPool", **SQUARE, strides=[2, 2]),
    "max pool padded": pool("MaxPool", **SQUARE, strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool uneven": pool("MaxPool", **SQUARE, strides=[2, 2], pads=[0, 0, 1, 1]),
    "max pool wide padding": pool("MaxPool", **SQUARE, pads=[2, 2, 2, 2]),
    "max pool ceil": pool("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "max pool ceil with padding": pool(
        "MaxPool", **SQUARE, strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1
    ),
    "max pool dilated": pool("MaxPool", **SQUARE, dilations=[2, 1]),
    "max pool same": pool("MaxPool", **SQUARE, strides=[2, 2], auto_pad="SAME_UPPER"),
    "max pool 1d": pool("MaxPool", (3, 9), kernel_shape=[3], strides=[2]),
    "average pool": pool("AveragePool", **SQUARE, strides=[2, 1]),
    "average pool padded": pool("AveragePool", **SQUARE, pads=[1, 1, 1, 1]),
    "average pool counting": pool("AveragePool", **SQUARE, pads=[1, 1, 1, 1], count_include_pad=1),
    "average pool uneven": pool("AveragePool", **SQUARE, pads=[0, 0, 1, 1], strides=[2, 2]),
    "average pool same": pool("AveragePool", **SQUARE, strides=[2, 2], auto_pad="SAME_LOWER"),
    "average pool uneven counting": pool(
        "AveragePool", **SQUARE, pads=[0, 1, 1, 2], count_include_pad=1
    ),
    "average pool ceil": pool("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "average pool 1d": pool("AveragePool", (3, 9), kernel_shape=[3]),
    "global average pool": one("GlobalAveragePool"),
    "global average pool 1d": one("GlobalAveragePool", 4, 6),
    "global max pool": one("GlobalMaxPool"),
    # Functions of one value.
    **{op: one(op) for op in UNARY},
    "Log": Case([node("Log", "x")], low=0.1),
    "Sqrt": Case([node("Sqrt", "x")], low=0.0),
    "Mish": one("Mish", opsets=(18, 21)),
    "hard sigmoid of torch": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "leaky relu": one("LeakyRelu", alpha=0.3),
    "elu": one("Elu", alpha=0.7),
    "hard swish": one("HardSwish", opsets=(14, 17, 21)),
    "gelu": one("Gelu", opsets=(20, 21)),
    "gelu tanh": one("Gelu", opsets=(20, 21), approximate="tanh"),
    "clip": Case([node("Clip", "x a b")], {"a": np.float32(-0.5), "b": np.float32(0.7)}),
    "clip relu6": Case([node("Clip", "x a b")], {"a": np.float32(0), "b": np.float32(6)}, high=9.0),
    "clip below": Case([node("Clip", "x a")], {"a": np.float32(-0.5)}),
    "clip zero": Case([node("Clip", "x a")], {"a": np.float32(0)}),
    "clip above": Case([node("Clip", "x - b")], {"b": np.float32(0.5)}),
    "clip nothing": one("Clip"),
    "prelu": constant("PRelu", floats(4, 1, 1)),
    "prelu of one": constant("PRelu", floats(1)),
    "prelu by element": constant("PRelu", floats(4, 6, 5), opsets=(11, 21)),
    "softmax": one("Softmax", opsets=(11, 12, 13, 21)),
    "softmax axis": one("Softmax", axis=1, opsets=(11, 12, 13, 21)),
    "softmax features": one("Softmax", 7, axis=-1),
    "log softmax": one("LogSoftmax", axis=2, opsets=(11, 12, 13, 21)),
    "dropout": one("Dropout", opsets=(12, 13, 21)),
    "cast": Case(
        [node("Cast", "x", "i", to=6), node("Cast", "i", to=1)],
    ),
    # Functions of several tensors.
    **{
        f"{op} of activations": Case([node(op, "x z")], shapes={"x": (3, 4), "z": (3, 4)}, low=0.5)
        for op in (*ARITHMETIC, "Max", "Min", "Pow")
    },
    **{f"{op} vector": constant(op, floats(5, low=0.5)) for op in ARITHMETIC},
    **{f"{op} number": constant(op, np.float32(1.7)) for op in (*ARITHMETIC, "Max", "Min")},
    **{
        f"{op} number first": Case([node(op, "c x")], {"c": np.float32(1.7)}, low=0.5)
        for op in (*ARITHMETIC, "Max", "Min")
    },
    "vector minus x": constant("Sub", floats(5), first=True),
    "add broadcasting x": constant("Add", floats(1, 4, 6, 5), 1, 1, 5),
    "pow square": Case([node("Pow", "x c")], {"c": integers(2)[0]}, opsets=(12, 13, 21)),
    "pow root": Case([node("Pow", "x c")], {"c": np.float32(0.5)}, low=0.1),
    "number to the x": Case([node("Pow", "c x")], {"c": np.float32(2)}),
    "max of three": Case([node("Max", "x z c")], {"c": floats(4)}, {"x": (3, 4), "z": (3, 4)}),
    "sum of three": Case([node("Sum", "x z x")], shapes={"x": (3, 4), "z": (3, 4)}),
    "where": Case([node("Greater", "x c", "k"), node("Where", "k x c")], {"c": np.float32(0.5)}),
    # Reductions.
    "mean": one("ReduceMean", opsets=OLD, axes=[2, 3]),
    "mean dropped": one("ReduceMean", opsets=OLD, axes=[-1], keepdims=0),
    "mean input": with_integers("ReduceMean", NEW, lists={"axes": [2, -1]}),
    "mean noop": one("ReduceMean", opsets=NEW, noop_with_empty_axes=1),
    "sum": one("ReduceSum", opsets=(11, 12), axes=[1]),
    "sum input": with_integers("ReduceSum", (13, 21), lists={"axes": [1]}, keepdims=0),
    "max": one("ReduceMax", opsets=OLD, axes=[1, 3]),
    "min": one("ReduceMin", opsets=OLD, axes=[2]),
    # Shapes.
    "reshape": with_integers("Reshape", ALL, lists={"shape": [0, 2, -1]}),
    "reshape to batch": with_integers("Reshape", ALL, lists={"shape": [-1, 120]}),
    "reshape zero": with_integers("Reshape", (14, 21), lists={"shape": [-1, 5, 24]}, allowzero=1),
    "flatten": one("Flatten"),
    "flatten axis": one("Flatten", axis=2),
    "flatten negative": one("Flatten", axis=-3),
    "flatten features": one("Flatten", 7, axis=1),
    "transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "transpose nothing": one("Transpose", perm=[0, 1, 2, 3]),
    "squeeze": one("Squeeze", 1, 5, 1, opsets=(11, 12), axes=[1, -1]),
    "squeeze input": with_integers("Squeeze", (13, 21), (1, 5, 1), lists={"axes": [1, -1]}),
    "unsqueeze": one("Unsqueeze", opsets=(11, 12), axes=[1, -1]),
    "unsqueeze input": with_integers("Unsqueeze", (13, 21), lists={"axes": [-1, 1]}),
    "concat": Case([node("Concat", "x z x", axis=-2)], shapes={"x": (3, 4), "z": (2, 4)}),
    "concat one": one("Concat", axis=1),
    "split": one("Split", 6, opsets=(11, 12), axis=1, split=[6]),
    "split pieces": Case(
        [node("Split", "x", "y z", axis=1, split=[4, 2])],
        shapes={"x": (6, 3)},
        opsets=(11, 12),
        outputs="y z",
    ),
    "split input": with_integers("Split", (13, 18, 21), (6, 3), "y z", {"split": [4, 2]}, axis=1),
    "split even": Case(
        [node("Split", "x", "y z", axis=1)],
        shapes={"x": (6, 3)},
        opsets=(11, 13, 17),
        outputs="y z",
    ),
    "split count": Case(
        [node("Split", "x", "y z", axis=1, num_outputs=2)],
        shapes={"x": (5, 3)},
        opsets=NEW,
        outputs="y z",
    ),
    "slice": with_integers(
        "Slice", ALL, lists={"s": [1, 0], "e": [3, -1], "a": [1, 2], "t": [1, 2]}
    ),
    "slice to the end": with_integers("Slice", ALL, lists={"s": [-3], "e": [2**63 - 1], "a": [-1]}),
    "slice backwards": with_integers(
        "Slice", ALL, lists={"s": [-1], "e": [-(2**63)], "a": [2], "t": [-2]}
    ),
    "slice backwards in part": with_integers(
        "Slice", ALL, lists={"s": [4], "e": [0], "a": [2], "t": [-1]}
    ),
    "slice of everything": with_integers(
        "Slice", ALL, lists={"s": [0, 1], "e": [2**31 - 1, 9], "a": [0, 2]}
    ),
    "gather": Case([node("Gather", "x i", axis=2)], {"i": integers(3, -1, 0)}),
    "gather one": Case([node("Gather", "x i", axis=1)], {"i": integers(-2)[0]}),
    "gather table": Case([node("Gather", "x i", axis=-1)], {"i": np.array([[0, 1], [2, 0]])}),
    "expand": with_integers("Expand", ALL, (4, 1, 5), lists={"shape": [1, 6, 1]}),
    "expand rank": with_integers("Expand", (11, 21), (4, 1), lists={"shape": [1, 4, 3]}),
    # Pads.
    "pad": pad([0, 0, 1, 2, 0, 0, 3, 0]),
    "pad value": Case(
        [node("Pad", "x p v")], {"p": integers(0, 1, 0, 0, 0, 2, 0, 0), "v": np.float32(1.5)}
    ),
    "pad negative": pad([0, 0, -1, 0, 0, 0, 0, -2]),
    "pad nothing": pad([0] * 8),
    "pad reflect": pad([0, 0, 1, 2, 0, 0, 3, 0], mode="reflect"),
    "pad edge": pad([0, 0, 1, 2, 0, 0, 3, 0], mode="edge"),
    "pad channels reflect": pad([0, 2, 0, 1, 0, 1, 0, 0], mode="reflect"),
    "pad features edge": pad([0, 2, 0, 1], (5,), mode="edge"),
    "pad wrap": Case(
        [node("Pad", "x p", mode="wrap")], {"p": integers(0, 0, 1, 2, 0, 0, 3, 0)}, opsets=(19, 21)
    ),
    "pad axes": Case(
        [node("Pad", "x p - a")], {"p": integers(1, 2, 3, 4), "a": integers(-1, 1)}, opsets=NEW
    ),
    # Resizing.
    **{
        f"resize {mode} {transform} {'up' if up else 'down'}": resize(
            [1, 1, 2.0, 3.0] if up else [1, 1, 0.5, 0.6],
            mode=mode,
            coordinate_transformation_mode=transform,
        )
        for mode in ("nearest", "linear", "cubic")
        for transform in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for up in (True, False)
    },
    **{
        f"resize nearest {rule}": resize(
            [1, 1, 1.5, 2.5],
            mode="nearest",
            nearest_mode=rule,
            coordinate_transformation_mode="asymmetric",
        )
        for rule in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    },
    "resize 1d": resize([1, 1, 2.0], shape=(3, 6), mode="linear"),
    "resize nothing": resize([1, 1, 1, 1], mode="linear"),
    "resize cubic sharp": resize([1, 1, 2, 2], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    # Recurrent layers.
    "lstm": rnn("LSTM"),
    "lstm reverse": rnn("LSTM", direction="reverse"),
    "lstm bidirectional": rnn("LSTM", direction="bidirectional"),
    "lstm with the usual activations": rnn("LSTM", activations=["Sigmoid", "Tanh", "Tanh"]),
    "gru": rnn("GRU", linear_before_reset=1),
    "gru reverse": rnn("GRU", linear_before_reset=1, direction="reverse"),
    "gru bidirectional": rnn("GRU", linear_before_reset=1, direction="bidirectional"),
    "gru reset first": rnn("GRU"),
    "gru reset first reverse": rnn("GRU", direction="reverse"),
    "gru reset first bidirectional": rnn("GRU", direction="bidirectional"),
    "gru reset first without bias": rnn("GRU", biased=False),
}


def _samples(case: Case, count: int, seed: int) -> dict[str, Any]:
    return {
        name: floats(count, *shape, seed=seed + i, low=case.low, high=case.high)
        for i, (name, shape) in enumerate(case.shapes.items())
    }


@pytest.mark.parametrize("name", CASES)
def test_as_onnx_runtime(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for opset in case.opsets:
        inputs = {key: [BATCH, *shape] for key, shape in case.shapes.items()}
        proto = model(case.nodes, inputs, case.constants, case.outputs, opset)
        module, run = load_onnx(saved(proto, tmp_path)), runtime(proto)
        for count in (1, 3):
            samples = _samples(case, count, seed=opset + count)
            assert_same(module_outputs(module, list(samples.values())), run(samples))


@pytest.mark.parametrize("name", CASES)
def test_a_file_for_one_sample_takes_any_batch_where_samples_stay_apart(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    inputs = {key: [1, *shape] for key, shape in case.shapes.items()}
    proto = model(case.nodes, inputs, case.constants, case.outputs, case.opsets[-1])
    module, run = load_onnx(saved(proto, tmp_path)), runtime(proto)
    samples = _samples(case, 3, seed=5)
    alone = [run({key: value[i : i + 1] for key, value in samples.items()}) for i in range(3)]
    if name in FOR_ONE_SAMPLE:
        first = [value[:1] for value in samples.values()]
        assert_same(module_outputs(module, first), alone[0])
        with pytest.raises(ValueError, match="takes batches of 1 only"):
            module_outputs(module, list(samples.values()))
    else:
        expected = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
        assert_same(module_outputs(module, list(samples.values())), expected)


def test_every_operator_is_tested() -> None:
    """Those that compute with shapes, and those of integers, are tested with their graphs."""
    tested = {each.op_type for case in CASES.values() for each in case.nodes}
    with_graphs = {
        "And", "Constant", "ConstantOfShape", "Equal", "GreaterOrEqual", "Less", "LessOrEqual",
        "Not", "Or", "Range", "Shape", "Size", "QuantizeLinear", "DequantizeLinear",
    }  # fmt: skip
    assert OPERATORS.keys() - tested <= with_graphs
