from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.floats import WRITERS
from sigmaquant.export.onnx.model import build_model, write_onnx
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.lowering.program import Argument, FloatOperator, IntegerProgram, Value
from sigmaquant.lowering.reference import run_reference

X, Z = Argument(0), Argument(1)
RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


IMAGE, TOKENS, SIGNAL, CUBE = (4, 6, 6), (5, 8), (4, 10), (2, 4, 5, 6)
VECTOR = (8,)


def recurrence(
    gates: int,
    features: int,
    hidden: int,
    layers: int = 1,
    directions: int = 1,
    biased: bool = True,
) -> list[Any]:
    """The arguments of a recurrent layer that starts from zeros, the batch first."""
    weights = []
    for layer in range(layers):
        given = hidden * directions if layer else features
        shapes = [(gates * hidden, given), (gates * hidden, hidden), *[(gates * hidden,)] * 2]
        weights += [array(*shape) for shape in shapes[: 4 if biased else 2] * directions]
    return [X, None, weights, biased, layers, 0.0, False, directions == 2, True]


# target, shapes of the inputs, arguments, shape of the output; in the order of the schema.
CASES: list[tuple[str, list[tuple[int, ...]], list[Any], tuple[int, ...]]] = [
    *[
        (f"aten.{name}.default", [VECTOR], [X], VECTOR)
        for name in (
            "relu", "relu_", "sigmoid", "tanh", "exp", "neg", "abs", "erf", "silu", "hardswish",
            "hardsigmoid", "relu6", "reciprocal", "alias", "detach", "ceil", "floor", "mish",
        )
    ],
    *[(f"aten.{name}.default", [VECTOR], [X], VECTOR) for name in ("log", "sqrt", "rsqrt")],
    ("aten.softplus.default", [VECTOR], [X, 1, 20], VECTOR),
    ("aten.gelu.default", [VECTOR], [X, "none"], VECTOR),
    ("aten.gelu.default", [VECTOR], [X, "tanh"], VECTOR),
    ("aten.leaky_relu.default", [VECTOR], [X, 0.2], VECTOR),
    ("aten.elu.default", [VECTOR], [X, 0.7, 1, 1], VECTOR),
    ("aten.clamp.default", [VECTOR], [X, -0.5, None], VECTOR),
    ("aten.clamp.default", [VECTOR], [X, None, 0.5], VECTOR),
    ("aten.clamp_min.default", [VECTOR], [X, -0.5], VECTOR),
    ("aten.clamp_max.default", [VECTOR], [X, 0.5], VECTOR),
    ("aten.prelu.default", [IMAGE], [X, array(4)], IMAGE),
    ("aten.prelu.default", [VECTOR], [X, array(8)], VECTOR),
    ("aten.prelu.default", [IMAGE], [X, array(1)], IMAGE),
    ("aten.hardtanh.default", [VECTOR], [X, -0.5, 0.25], VECTOR),
    ("aten.dropout.default", [VECTOR], [X, 0.5, False], VECTOR),
    ("aten.clone.default", [VECTOR], [X, None], VECTOR),
    ("aten.contiguous.default", [VECTOR], [X], VECTOR),
    ("aten.add.Tensor", [IMAGE, IMAGE], [X, Z, 1], IMAGE),
    ("aten.add.Tensor", [IMAGE], [X, array(4, 1, 1), 3], IMAGE),
    ("aten.add.Tensor", [IMAGE], [X, 3, 1], IMAGE),
    ("aten.add.Scalar", [IMAGE], [X, 3, 1], IMAGE),
    ("aten.sub.Tensor", [IMAGE, IMAGE], [X, Z, 0.5], IMAGE),
    ("aten.sub.Scalar", [IMAGE], [X, 3.5, 1], IMAGE),
    ("aten.rsub.Scalar", [IMAGE], [X, 3.5, 1], IMAGE),
    ("aten.mul.Tensor", [IMAGE, (4, 1, 1)], [X, Z], IMAGE),
    ("aten.mul.Scalar", [IMAGE], [X, 2], IMAGE),
    ("aten.div.Tensor", [IMAGE], [X, array(6) + 4], IMAGE),
    ("aten.div.Scalar", [IMAGE], [X, 3], IMAGE),
    ("aten.pow.Tensor_Scalar", [IMAGE], [X, 2], IMAGE),
    ("aten.pow.Tensor_Tensor", [VECTOR], [X, np.float32([1, 2, 3, 1, 2, 3, 1, 2])], VECTOR),
    ("aten.maximum.default", [IMAGE, IMAGE], [X, Z], IMAGE),
    ("aten.minimum.default", [IMAGE, IMAGE], [X, Z], IMAGE),
    ("aten.matmul.default", [(5, 8), (8, 3)], [X, Z], (5, 3)),
    ("aten.bmm.default", [(5, 8), (8, 3)], [X, Z], (5, 3)),
    ("aten.softmax.int", [TOKENS], [X, -1, None], TOKENS),
    ("aten.softmax.int", [TOKENS], [X, 1, None], TOKENS),
    ("aten.log_softmax.int", [TOKENS], [X, 2, None], TOKENS),
    (
        "aten.scaled_dot_product_attention.default",
        [(2, 5, 8), (2, 6, 8), (2, 6, 4)],
        [X, Z, Argument(2), None, 0.0, False, None, False],
        (2, 5, 4),
    ),
    (
        "aten.scaled_dot_product_attention.default",
        [(5, 8), (6, 8), (6, 4)],
        [X, Z, Argument(2), array(5, 6), 0.0, False, 0.3, False],
        (5, 4),
    ),
    ("aten.layer_norm.default", [TOKENS], [X, [8], array(8), array(8), 1e-5, True], TOKENS),
    ("aten.layer_norm.default", [TOKENS], [X, [5, 8], None, None, 1e-3, True], TOKENS),
    (
        "aten.batch_norm.default",
        [IMAGE],
        [X, array(4), array(4), array(4), abs(array(4)), False, 0.1, 1e-3, True],
        IMAGE,
    ),
    (
        "aten.batch_norm.default",
        [SIGNAL],
        [X, None, None, array(4), abs(array(4)), False, 0.1, 1e-5, True],
        SIGNAL,
    ),
    ("aten.mean.dim", [IMAGE], [X, [2, 3], True, None], (4, 1, 1)),
    ("aten.mean.dim", [IMAGE], [X, [-1], False, None], (4, 6)),
    ("aten.sum.dim_IntList", [IMAGE], [X, [1], False, None], (6, 6)),
    ("aten.amax.default", [IMAGE], [X, [3], True], (4, 6, 1)),
    ("aten.amin.default", [IMAGE], [X, [1, 2], False], (6,)),
    ("aten.adaptive_avg_pool2d.default", [IMAGE], [X, [1, 1]], (4, 1, 1)),
    ("aten.adaptive_avg_pool2d.default", [IMAGE], [X, [3, 2]], (4, 3, 2)),
    ("aten.adaptive_avg_pool1d.default", [SIGNAL], [X, [5]], (4, 5)),
    ("aten.avg_pool2d.default", [IMAGE], [X, [3, 3], [2, 2], [1], False, True, None], (4, 3, 3)),
    ("aten.avg_pool2d.default", [IMAGE], [X, [3], [], [1, 1], False, False, None], (4, 2, 2)),
    ("aten.avg_pool1d.default", [SIGNAL], [X, [2], [2], [0], False, True], (4, 5)),
    ("aten.max_pool2d.default", [IMAGE], [X, [2, 2], [], [0, 0], [1, 1], False], (4, 3, 3)),
    ("aten.max_pool2d.default", [IMAGE], [X, [3], [1], [1], [2], False], (4, 4, 4)),
    ("aten.max_pool1d.default", [SIGNAL], [X, [3], [2], [1], [1], False], (4, 5)),
    ("aten.adaptive_avg_pool3d.default", [CUBE], [X, [2, 5, 3]], (2, 2, 5, 3)),
    ("aten.avg_pool3d.default", [CUBE], [X, [2], [2], [0], False, True, None], (2, 2, 2, 3)),
    ("aten.max_pool3d.default", [CUBE], [X, [2], [2], [0], [1], False], (2, 2, 2, 3)),
    ("aten.upsample_nearest2d.vec", [IMAGE], [X, None, [2.0, 3.0]], (4, 12, 18)),
    ("aten.upsample_nearest2d.default", [IMAGE], [X, [12, 6], None, None], (4, 12, 6)),
    ("aten.upsample_nearest2d.vec", [IMAGE], [X, [9, 4], None], (4, 9, 4)),
    ("aten.upsample_nearest1d.vec", [SIGNAL], [X, [7], None], (4, 7)),
    ("aten.upsample_nearest3d.vec", [CUBE], [X, [8, 3, 9], None], (2, 8, 3, 9)),
    ("aten.upsample_linear1d.vec", [SIGNAL], [X, [17], False, None], (4, 17)),
    ("aten.upsample_trilinear3d.vec", [CUBE], [X, [8, 9, 5], True, None], (2, 8, 9, 5)),
    ("aten.upsample_bicubic2d.vec", [IMAGE], [X, [11, 4], False, None], (4, 11, 4)),
    ("aten.upsample_bicubic2d.vec", [IMAGE], [X, [11, 12], True, None], (4, 11, 12)),
    ("aten.upsample_bilinear2d.vec", [IMAGE], [X, None, False, [2.0, 2.0]], (4, 12, 12)),
    ("aten.upsample_bilinear2d.vec", [IMAGE], [X, [11, 4], True, None], (4, 11, 4)),
    ("aten.upsample_bilinear2d.default", [IMAGE], [X, [11, 4], False, None, None], (4, 11, 4)),
    ("aten.linear.default", [TOKENS], [X, array(3, 8), array(3)], (5, 3)),
    ("aten.linear.default", [TOKENS], [X, array(3, 8), None], (5, 3)),
    (
        "aten.conv2d.default",
        [IMAGE],
        [X, array(6, 2, 3, 3), array(6), [2, 1], [1, 1], [1, 1], 2],
        (6, 3, 6),
    ),
    (
        "aten.conv3d.default",
        [CUBE],
        [X, array(3, 2, 2, 2, 2), array(3), [1], [0, 1, 0], [1], 1],
        (3, 3, 6, 5),
    ),
    (
        "aten.conv_transpose3d.input",
        [CUBE],
        [X, array(2, 3, 2, 2, 2), None, [2], [0], [0], 1, [1]],
        (3, 8, 10, 12),
    ),
    ("aten.conv1d.default", [SIGNAL], [X, array(3, 4, 3), None, [1], [2], [2], 1], (3, 10)),
    (
        "aten.conv_transpose2d.input",
        [IMAGE],
        [X, array(4, 3, 3, 3), array(6), [2, 2], [1, 1], [1, 1], 2, [1, 1]],
        (6, 12, 12),
    ),
    (
        "aten.conv_transpose1d.default",
        [SIGNAL],
        [X, array(4, 3, 3), None, [2], [0], [0], 1, [1]],
        (3, 21),
    ),
    ("aten.view.default", [TOKENS], [X, [-1, 40]], (40,)),
    ("aten.reshape.default", [TOKENS], [X, [-1, 4, 10]], (4, 10)),
    ("aten._unsafe_view.default", [TOKENS], [X, [-1, 40]], (40,)),
    ("aten.flatten.using_ints", [IMAGE], [X, 1, -1], (144,)),
    ("aten.unflatten.int", [TOKENS], [X, 2, [2, 4]], (5, 2, 4)),
    ("aten.squeeze.dim", [(5, 1)], [X, 2], (5,)),
    ("aten.squeeze.dims", [(1, 5, 1)], [X, [1, 3]], (5,)),
    ("aten.unsqueeze.default", [TOKENS], [X, 1], (1, 5, 8)),
    ("aten.expand.default", [(4, 1, 1)], [X, [-1, 4, 6, 6], False], IMAGE),
    ("aten.permute.default", [IMAGE], [X, [0, 2, -1, 1]], (6, 6, 4)),
    ("aten.transpose.int", [TOKENS], [X, 1, -1], (8, 5)),
    ("aten.slice.Tensor", [TOKENS], [X, 2, 1, 7, 2], (5, 3)),
    ("aten.slice.Tensor", [TOKENS], [X, 1, None, None, 1], TOKENS),
    ("aten.flip.default", [TOKENS], [X, [1, -1]], TOKENS),
    ("aten.index_select.default", [TOKENS], [X, 2, np.array([7, 0, 0])], (5, 3)),
    ("aten.lstm.input", [TOKENS], recurrence(4, 8, 3), (5, 3)),
    ("aten.lstm.input", [TOKENS], recurrence(4, 8, 3, layers=2, directions=2), (5, 6)),
    ("aten.gru.input", [TOKENS], recurrence(3, 8, 3, directions=2, biased=False), (5, 6)),
    ("aten.select.int", [TOKENS], [X, 1, -1], (8,)),
    ("aten.cat.default", [TOKENS, (2, 8)], [[X, Z], 1], (7, 8)),
    ("aten.constant_pad_nd.default", [IMAGE], [X, [1, 2, 0, 3], 0.5], (4, 9, 9)),
    ("aten.pad.default", [SIGNAL], [X, [1, 2], "constant", None], (4, 13)),
    ("aten.pad.default", [SIGNAL], [X, [1, 2], "reflect", None], (4, 13)),
    ("aten.pad.default", [IMAGE], [X, [1, 2, 0, 3], "replicate", None], (4, 9, 9)),
]  # fmt: skip


def program_of(
    target: str, shapes: list[tuple[int, ...]], arguments: list[Any], output: tuple[int, ...]
) -> IntegerProgram:
    inputs = tuple(f"x{index}" for index in range(len(shapes)))
    values = {n: Value(n, shape, None) for n, shape in zip(inputs, shapes, strict=True)}
    operator = FloatOperator("block.op", inputs, "y", target, tuple(arguments), {})
    values["y"] = Value("y", output, None)
    return IntegerProgram("Net", values, (operator,), inputs, ("y",))


def batch(program: IntegerProgram) -> dict[str, np.ndarray]:
    """Positive numbers for the operators that need them, both signs for the others."""
    arrays = {n: array(3, *program.values[n].shape) * 2 for n in program.inputs}
    (operator,) = program.operators
    assert isinstance(operator, FloatOperator)
    if any(name in operator.target for name in ("log.", "sqrt", "pow", "reciprocal")):
        return {name: np.abs(x) + 0.1 for name, x in arrays.items()}
    return arrays


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].removeprefix("aten."))
def test_float_operators_agree_with_pytorch(case: Any, tmp_path: Path) -> None:
    program = program_of(*case)
    write_onnx(program, tmp_path / "net.onnx")
    network = OnnxRuntimeNetwork(tmp_path / "net.onnx", threads=1)
    inputs = batch(program)
    expected, actual = run_reference(program, inputs)["y"], network.run(inputs)["y"]
    assert actual.shape == expected.shape
    # An interpolated value is a sum of up to 16 products, whose places runtimes round differently.
    atol = 1e-5 if "upsample" in case[0] else 2e-6
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=atol)


def test_every_writer_has_a_case() -> None:
    covered = {target.removeprefix("aten.").replace("relu_", "relu") for target, *_ in CASES}
    assert covered == WRITERS.keys()


@pytest.mark.parametrize(
    ("target", "shapes", "arguments", "output", "message"),
    [
        ("aten.fft_fft.default", [VECTOR], [X], VECTOR, r"no form for .* aten\.fft_fft\.default"),
        ("custom.relu.default", [VECTOR], [X], VECTOR, r"no form for .* custom\.relu"),
        ("aten.softmax.int", [VECTOR], [X, 0, None], VECTOR, "along the batch dimension"),
        ("aten.softmax.int", [VECTOR], [array(3), 0, None], VECTOR, "on a constant"),
        ("aten.mul.Tensor", [VECTOR], [X, "two"], VECTOR, "with the argument 'two'"),
        ("aten.cat.default", [VECTOR, VECTOR], [[X, Z], 0], VECTOR, "along the batch"),
        ("aten.permute.default", [TOKENS], [X, [1, 0, 2]], TOKENS, "moves the batch"),
        ("aten.mean.dim", [VECTOR], [X, None, False, None], (), "over all dimensions"),
        ("aten.rsub.Scalar", [VECTOR], [X, 1, 2], VECTOR, "with alpha"),
        ("aten.elu.default", [VECTOR], [X, 1, 2, 1], VECTOR, "with scales"),
        ("aten.softplus.default", [VECTOR], [X, 2, 20], VECTOR, "beta"),
        (
            "aten.scaled_dot_product_attention.default", [TOKENS], [X, X, X, None, 0.0, True],
            TOKENS, "a causal mask",
        ),
        ("aten.dropout.default", [VECTOR], [X, 0.5, True], VECTOR, "training mode"),
        ("aten.batch_norm.default", [IMAGE], [X, *[array(4)] * 4, True], IMAGE, "training mode"),
        ("aten.adaptive_avg_pool2d.default", [IMAGE], [X, [4, 4]], (4, 4, 4), "several sizes"),
        (
            "aten.avg_pool2d.default", [IMAGE], [X, [2], [2], [0], False, True, 3], (4, 3, 3),
            "with its own divisor",
        ),
        ("aten.max_pool2d.default", [IMAGE], [X, [2], [2], [0], [1], True], (4, 3, 3), "ceil_mode"),
        (
            "aten.lstm.input", [TOKENS], [*recurrence(4, 8, 3)[:-1], False], (5, 3),
            "without the batch first",
        ),
        ("aten.index_select.default", [VECTOR, VECTOR], [X, 1, Z], VECTOR, "are computed"),
        ("aten.pad.default", [SIGNAL], [X, [1, 2], "circular", None], (4, 13), "mode 'circular'"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_name_and_place(
    target: str, shapes: Any, arguments: Any, output: Any, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=rf"block\.op: .*{message}"):
        build_model(program_of(target, shapes, arguments, output))


def test_an_argument_can_be_given_by_keyword() -> None:
    program = program_of("aten.gelu.default", [VECTOR], [X], VECTOR)
    (operator,) = program.operators
    assert isinstance(operator, FloatOperator)
    operator.keywords["approximate"] = "tanh"
    kinds = {node.op_type for node in build_model(program).graph.node}
    assert "Tanh" in kinds
    assert "Erf" not in kinds


def test_the_model_passes_onnx_shape_inference() -> None:
    program = program_of("aten.gelu.default", [VECTOR], [X], VECTOR)
    onnx.shape_inference.infer_shapes(build_model(program), strict_mode=True)
