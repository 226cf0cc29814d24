import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sigmaquant.errors import ArtifactError, DataError, MissingExtraError, VerificationError
from sigmaquant.export import export_onnx
from sigmaquant.export.onnx.model import write_onnx
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.verify import verify_onnx
from sigmaquant.lowering.program import Argument, FloatOperator, IntegerProgram

# By name: as an attribute of the package, ``export`` is the function of the public API.
VERIFY = importlib.import_module("sigmaquant.export.verify")

Builder = Any
Edit = Callable[[onnx.ModelProto], None]


@pytest.fixture
def build(builder: Builder) -> Builder:
    return builder()


@pytest.fixture
def program(build: Builder) -> IntegerProgram:
    """Three convolutions of 3, 3 and 8 bits and a float head of 3 bits."""
    value = build.quantize(build.input((4, 8, 8)))
    for bits in (3, 3, 8):
        value = build.convolution(value, 8, bits=bits)
    return build.program(build.linear(build.global_average(value), 5, bits=3, to_float=True))


def edited(program: IntegerProgram, path: Path, edit: Edit) -> Path:
    """The program's file after a change behind the writer's back."""
    write_onnx(program, path)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def change_tensor(
    model: onnx.ModelProto,
    dtype: type[np.generic],
    shape: tuple[int, ...],
    change: Callable[[np.ndarray], None],
) -> None:
    """Change the one initializer of that type and shape."""
    arrays = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    (name,) = (n for n, array in arrays.items() if (array.dtype, array.shape) == (dtype, shape))
    change(arrays[name])
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(arrays[name], name))


def weights_of(program: IntegerProgram, *layers: int) -> int:
    return sum(program.weights[index].values.size for index in layers)


def test_a_verification_says_what_was_compared(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    result = export_onnx(program, tmp_path / "net.onnx", build.batch(6))
    assert result.runtime.startswith("onnxruntime ")
    assert (result.samples, result.values, result.differing) == (6, 30, 0)
    assert result.largest_difference == 0
    assert result.exact
    assert result.kernels["QLinearConv"] == 3
    assert result.kernels["QGemm"] == 1
    assert result.file_bytes == (tmp_path / "net.onnx").stat().st_size


@pytest.mark.parametrize(("layer", "name"), [(0, "1"), (1, "2")])
def test_a_changed_packed_weight_is_found_in_its_layer(
    program: IntegerProgram, build: Builder, tmp_path: Path, layer: int, name: str
) -> None:
    place = (weights_of(program, *range(layer)) + 40) // 8
    planes = (3, weights_of(program, 0, 1, 3) // 8, 1)

    def flip(array: np.ndarray) -> None:
        array[2, place : place + 3] ^= 255

    path = edited(
        program, tmp_path / "net.onnx", lambda m: change_tensor(m, np.uint8, planes, flip)
    )
    with pytest.raises(VerificationError, match=rf"^block\.convolution{name} \(Convolution\)"):
        verify_onnx(path, program, build.batch())


def test_a_changed_plain_weight_is_found_and_saturation_named_as_a_possible_cause(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    def change(array: np.ndarray) -> None:
        array[:] = array[::-1]

    path = edited(
        program, tmp_path / "net.onnx", lambda m: change_tensor(m, np.int8, (8, 8, 3, 3), change)
    )
    message = r"^block\.convolution3 .* in \d+ of 1536 values, .*VNNI.*x64quantprecision"
    with pytest.raises(VerificationError, match=message):
        verify_onnx(path, program, build.batch())


def test_a_layer_left_in_float_is_found(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    def replace_weights_by_floats(model: onnx.ModelProto) -> None:
        node = [n for n in model.graph.node if n.op_type == "Conv"][1]
        floats = np.zeros((8, 8, 3, 3), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(floats, "floats"))
        node.input[1] = "floats"

    path = edited(program, tmp_path / "net.onnx", replace_weights_by_floats)
    with pytest.raises(VerificationError, match=r"1 layers in float .* block\.convolution2 \("):
        verify_onnx(path, program, build.batch())


def test_nan_is_found(program: IntegerProgram, build: Builder, tmp_path: Path) -> None:
    def change(array: np.ndarray) -> None:
        array[0] = np.nan

    path = edited(
        program, tmp_path / "net.onnx", lambda m: change_tensor(m, np.float32, (5,), change)
    )
    with pytest.raises(VerificationError, match="holds NaN"):
        verify_onnx(path, program, build.batch())


def test_a_difference_that_no_operator_shows_alone_is_still_an_error(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(array: np.ndarray) -> None:
        array *= 2

    path = edited(
        program, tmp_path / "net.onnx", lambda m: change_tensor(m, np.float32, (5,), change)
    )
    monkeypatch.setattr(VERIFY, "_compare_operators", lambda *_: None)
    with pytest.raises(VerificationError, match=r"15 output values differ .* graph optimizations"):
        verify_onnx(path, program, build.batch())


def float_operator(
    build: Builder, target: str, *inputs: str, arguments: tuple[Any, ...] = ()
) -> str:
    arguments = (*(Argument(index) for index in range(len(inputs))), *arguments)
    return build.append(
        FloatOperator, inputs, build.shape(inputs[0]), None,
        target=target, arguments=arguments, keywords={},
    )  # fmt: skip


@pytest.fixture
def gated(build: Builder) -> IntegerProgram:
    """A convolution gated by its own sigmoid in float, then another convolution."""
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8)
    gate = build.quantize(float_operator(build, "aten.sigmoid.default", build.dequantize(value)))
    left, right = build.dequantize(value), build.dequantize(gate)
    product = build.quantize(float_operator(build, "aten.mul.Tensor", left, right))
    return build.program(build.dequantize(build.convolution(product, 4, bits=4)))


@pytest.mark.parametrize("seed", range(5))
def test_float_operators_are_compared_within_a_tolerance(
    gated: IntegerProgram, build: Builder, tmp_path: Path, seed: int
) -> None:
    build.random = np.random.default_rng(seed)
    result = export_onnx(gated, tmp_path / "net.onnx", build.batch(8))
    assert not result.exact
    assert result.kernels["QLinearConv"] == 2


def test_a_float_operator_that_differs_is_named_by_what_reads_it(
    gated: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    def swap(model: onnx.ModelProto) -> None:
        (node,) = (n for n in model.graph.node if n.op_type == "Sigmoid")
        node.op_type = "Tanh"

    path = edited(gated, tmp_path / "net.onnx", swap)
    message = r"\(Quantize\) behind block\.floatoperator3 differs"
    with pytest.raises(VerificationError, match=message):
        verify_onnx(path, gated, build.batch())


def test_a_float_output_that_differs_is_named(build: Builder, tmp_path: Path) -> None:
    value = build.dequantize(build.quantize(build.input((8,))))
    program = build.program(float_operator(build, "aten.tanh.default", value))

    def swap(model: onnx.ModelProto) -> None:
        (node,) = (n for n in model.graph.node if n.op_type == "Tanh")
        node.op_type = "Softsign"

    path = edited(program, tmp_path / "net.onnx", swap)
    with pytest.raises(VerificationError, match=r"^block\.floatoperator2 \(FloatOperator\) diff"):
        verify_onnx(path, program, build.batch())


def test_float_layers_that_the_program_asks_for_are_allowed(build: Builder, tmp_path: Path) -> None:
    image = build.input((4, 4, 4))
    integers = build.dequantize(build.convolution(build.quantize(image), 4))
    product = float_operator(build, "aten.matmul.default", image, image)
    weights = np.ones((4, 4, 1, 1), np.float32)
    convolved = float_operator(build, "aten.conv2d.default", product, arguments=(weights,))
    floats = float_operator(build, "aten.relu.default", convolved)
    result = export_onnx(build.program(integers, floats), tmp_path / "net.onnx", build.batch())
    assert not result.exact
    assert result.kernels["QLinearConv"] == result.kernels["Conv"] == result.kernels["MatMul"] == 1


def test_a_file_that_fails_never_takes_the_name(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise VerificationError("differs")

    path = tmp_path / "net.onnx"
    path.write_text("the last good one")
    monkeypatch.setattr(VERIFY, "verify_onnx", fail)
    with pytest.raises(VerificationError):
        export_onnx(program, path, build.batch())
    assert path.read_text() == "the last good one"
    assert list(tmp_path.iterdir()) == [path]


def test_inputs_that_do_not_fit_are_data_errors(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no data for the inputs"):
        export_onnx(program, tmp_path / "net.onnx", {})
    write_onnx(program, tmp_path / "net.onnx")
    network = OnnxRuntimeNetwork(tmp_path / "net.onnx", threads=1)
    with pytest.raises(DataError, match=r"cannot run on inputs .*\(1, 4, 9, 9\)"):
        network.run({"x0": np.zeros((1, 4, 9, 9))})


def test_the_network_is_called_with_arrays_in_order(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    write_onnx(program, tmp_path / "net.onnx")
    network = OnnxRuntimeNetwork(tmp_path / "net.onnx", threads=1)
    inputs = build.batch(2)
    (output,) = network(inputs["x0"].astype(np.float64))
    assert output.dtype == np.float32
    assert np.array_equal(output, network.run(inputs)[program.outputs[0]])


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_damaged_or_missing_file_is_an_artifact_error(
    program: IntegerProgram, build: Builder, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"ONNX Runtime cannot load .*net\.onnx"):
        verify_onnx(path, program, build.batch())


@pytest.mark.parametrize(("package", "module"), [("onnx", "graph"), ("onnxruntime", "runtime")])
def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
    program: IntegerProgram,
    build: Builder,
    tmp_path: Path,
    package: str,
    module: str,
) -> None:
    for name in [name for name in sys.modules if name.startswith("sigmaquant.export.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sigmaquant-edge\[onnx\]'"):
        export_onnx(program, tmp_path / "net.onnx", build.batch())
    assert list(tmp_path.iterdir()) == []


def test_weights_that_would_be_unpacked_in_every_run_are_refused(
    build: Builder, program: IntegerProgram, tmp_path: Path
) -> None:
    def unpack_late(model: onnx.ModelProto) -> None:
        (port,) = model.graph.input
        model.graph.node.append(onnx.helper.make_node("NonZero", [port.name], ["late"]))
        late = onnx.helper.make_tensor_value_info("late", onnx.TensorProto.INT64, None)
        model.graph.output.append(late)

    path = edited(program, tmp_path / "net.onnx", unpack_late)
    with pytest.raises(VerificationError, match=r"anew for each batch: it does not fold NonZero"):
        verify_onnx(path, program, build.batch())
