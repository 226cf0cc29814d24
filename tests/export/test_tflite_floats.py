from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from sigmaquant.errors import UnsupportedError
from sigmaquant.export import export_tflite
from sigmaquant.export.tflite.floats import WRITERS
from sigmaquant.export.tflite.model import build_model
from sigmaquant.export.tflite.runtime import LiteRtNetwork
from sigmaquant.lowering.program import Argument, FloatOperator, IntegerProgram, Value
from sigmaquant.lowering.reference import run_reference

X, Z = Argument(0), Argument(1)
RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


IMAGE, TOKENS, VECTOR = (4, 6, 6), (5, 8), (8,)

# target, shapes of the inputs, arguments, shape of the output; in the order of the schema.
CASES: list[tuple[str, list[tuple[int, ...]], list[Any], tuple[int, ...]]] = [
    *[
        (f"aten.{name}.default", [VECTOR], [X], VECTOR)
        for name in (
            "relu",
            "relu_",
            "sigmoid",
            "tanh",
            "exp",
            "neg",
            "abs",
            "silu",
            "hardswish",
            "relu6",
            "log",
            "sqrt",
            "rsqrt",
            "alias",
            "detach",
            "contiguous",
        )
    ],
    ("aten.gelu.default", [VECTOR], [X, "none"], VECTOR),
    ("aten.gelu.default", [VECTOR], [X, "tanh"], VECTOR),
    ("aten.leaky_relu.default", [VECTOR], [X, 0.2], VECTOR),
    ("aten.clamp.default", [VECTOR], [X, -0.5, None], VECTOR),
    ("aten.clamp.default", [VECTOR], [X, None, 0.5], VECTOR),
    ("aten.hardtanh.default", [VECTOR], [X, -0.5, 0.25], VECTOR),
    ("aten.dropout.default", [VECTOR], [X, 0.5, False], VECTOR),
    ("aten.clone.default", [VECTOR], [X, None], VECTOR),
    ("aten.add.Tensor", [IMAGE, IMAGE], [X, Z, 1], IMAGE),
    ("aten.add.Tensor", [IMAGE], [X, array(4, 1, 1), 1], IMAGE),
    ("aten.add.Scalar", [IMAGE], [X, 3, 1], IMAGE),
    ("aten.sub.Tensor", [IMAGE], [2.5, X, 1], IMAGE),
    ("aten.sub.Scalar", [IMAGE], [X, 3.5, 1], IMAGE),
    ("aten.mul.Tensor", [IMAGE, (4, 1, 1)], [X, Z], IMAGE),
    ("aten.mul.Tensor", [(4, 1, 1), IMAGE], [X, Z], IMAGE),
    ("aten.mul.Scalar", [IMAGE], [X, 2], IMAGE),
    ("aten.div.Tensor", [IMAGE], [X, array(6) + 4], IMAGE),
    ("aten.div.Scalar", [IMAGE], [X, 3], IMAGE),
    ("aten.pow.Tensor_Scalar", [IMAGE], [X, 2], IMAGE),
    ("aten.maximum.default", [IMAGE, IMAGE], [X, Z], IMAGE),
    ("aten.minimum.default", [IMAGE, IMAGE], [X, Z], IMAGE),
    ("aten.matmul.default", [(2, 5, 8), (2, 8, 3)], [X, Z], (2, 5, 3)),
    ("aten.bmm.default", [(5, 8), (8, 3)], [X, Z], (5, 3)),
    ("aten.softmax.int", [TOKENS], [X, -1, None], TOKENS),
    ("aten.softmax.int", [IMAGE], [X, 1, None], IMAGE),
    ("aten.log_softmax.int", [TOKENS], [X, 2, None], TOKENS),
    ("aten.mean.dim", [IMAGE], [X, [2, 3], False, None], (4,)),
    ("aten.sum.dim_IntList", [IMAGE], [X, [1], True, None], (1, 6, 6)),
    ("aten.amax.default", [IMAGE], [X, [-1], False], (4, 6)),
    ("aten.amin.default", [IMAGE], [X, [-1], False], (4, 6)),
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
        [X, array(4), array(4), array(4), array(4) ** 2 + 1, False, 0.1, 1e-5, True],
        IMAGE,
    ),
    (
        "aten.batch_norm.default",
        [VECTOR],
        [X, None, None, array(8), array(8) ** 2 + 1, False, 0.1, 1e-5, True],
        VECTOR,
    ),
    ("aten.linear.default", [TOKENS], [X, array(3, 8), array(3)], (5, 3)),
    ("aten.linear.default", [VECTOR], [X, array(3, 8), None], (3,)),
    ("aten.upsample_nearest2d.vec", [IMAGE], [X, None, [2.0, 3.0]], (4, 12, 18)),
    ("aten.upsample_bilinear2d.vec", [IMAGE], [X, [9, 7], False, None], (4, 9, 7)),
    ("aten.upsample_bilinear2d.vec", [IMAGE], [X, [9, 7], True, None], (4, 9, 7)),
    ("aten.reshape.default", [IMAGE], [X, [-1, 4, 36]], (4, 36)),
    ("aten.flatten.using_ints", [IMAGE], [X, 1, -1], (144,)),
    ("aten.unflatten.int", [TOKENS], [X, 2, [2, 4]], (5, 2, 4)),
    ("aten.squeeze.dim", [(4, 1, 6)], [X, 2], (4, 6)),
    ("aten.unsqueeze.default", [TOKENS], [X, 1], (1, 5, 8)),
    ("aten.permute.default", [IMAGE], [X, [0, 2, 3, 1]], (6, 6, 4)),
    ("aten.transpose.int", [TOKENS], [X, 1, -1], (8, 5)),
    ("aten.cat.default", [IMAGE, (2, 6, 6)], [[X, Z], 1], (6, 6, 6)),
]


def program_of(
    target: str, shapes: list[tuple[int, ...]], arguments: list[Any], output: tuple[int, ...]
) -> IntegerProgram:
    names = tuple(f"x{index}" for index in range(len(shapes)))
    values = {name: Value(name, shape, None) for name, shape in zip(names, shapes, strict=True)}
    values["y"] = Value("y", output, None)
    operator = FloatOperator("head.operator", names, "y", target, tuple(arguments), {})
    return IntegerProgram("Net", values, (operator,), names, ("y",))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].removeprefix("aten."))
def test_float_operators_are_pytorchs_with_both_sets_of_kernels(case: Any, tmp_path: Path) -> None:
    program = program_of(*case)
    positive = any(name in case[0] for name in ("log.", "sqrt"))
    inputs = {
        name: np.abs(array(3, *program.values[name].shape)) + 0.1
        if positive
        else array(3, *program.values[name].shape)
        for name in program.inputs
    }
    result = export_tflite(program, tmp_path / "net.tflite", inputs)
    assert result.largest_steps == {}
    (expected,) = run_reference(program, inputs).values()
    (actual,) = LiteRtNetwork(tmp_path / "net.tflite").run(inputs).values()
    assert np.allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_every_writer_has_a_case() -> None:
    tried = {case[0].removeprefix("aten.").replace("_.", ".") for case in CASES}
    twins = {"view.default", "_unsafe_view.default", "squeeze.dims"}
    twins |= {"upsample_nearest2d.default", "upsample_bilinear2d.default"}
    assert set(WRITERS) - tried <= twins


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (("aten.cumsum.default", [TOKENS], [X, 1], TOKENS), "no form for .*cumsum"),
        (("custom.relu.default", [TOKENS], [X], TOKENS), "no form for .*custom"),
        (("aten.softmax.int", [TOKENS], [X, 0, None], TOKENS), "along the batch dimension"),
        (("aten.add.Tensor", [TOKENS, TOKENS], [X, Z, 2], TOKENS), "with alpha"),
        (("aten.add.Tensor", [TOKENS, VECTOR], [X, Z, 1], TOKENS), "different numbers"),
        (("aten.mul.Tensor", [TOKENS], [X, "two"], TOKENS), "with the argument 'two'"),
        (("aten.dropout.default", [VECTOR], [X, 0.5, True], VECTOR), "in training mode"),
        (
            ("aten.batch_norm.default", [VECTOR], [X, None, None, 0, 1, True, 0, 0, 0], VECTOR),
            "in training mode",
        ),
        (("aten.mean.dim", [VECTOR], [X, None], VECTOR), "over all dimensions"),
        (("aten.matmul.default", [TOKENS, VECTOR], [X, Z], (5,)), "no batches of matrices"),
        (
            (
                "aten.scaled_dot_product_attention.default",
                [TOKENS] * 3, [X, Z, Argument(2), None, 0.0, True, None, False], TOKENS,
            ),
            "a causal mask",
        ),
        (
            (
                "aten.scaled_dot_product_attention.default",
                [TOKENS] * 4, [X, Z, Argument(2), Argument(3), 0.0, False, None, False], TOKENS,
            ),
            "with a computed mask",
        ),
        (("aten.upsample_nearest2d.vec", [IMAGE], [X, [7, 9], None], (4, 7, 9)), "whole factor"),
        (("aten.permute.default", [TOKENS], [X, [1, 0, 2]], TOKENS), "moves the batch"),
        (("aten.cat.default", [TOKENS], [[X, array(1, 5, 8)], 1], (10, 8)), "with a constant"),
        (("aten.relu.default", [], [array(8)], VECTOR), "on a constant"),
    ],
)  # fmt: skip
def test_what_has_no_form_is_refused_with_its_place(case: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^head\.operator: .*{message}"):
        build_model(program_of(*case))
