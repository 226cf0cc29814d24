import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sigmaquant.errors import (
    ArtifactError,
    DataError,
    OutputError,
    UnsupportedError,
    VerificationError,
)
from sigmaquant.export import export_qnn
from sigmaquant.export.formats import FORMATS
from sigmaquant.export.heads import with_integer_heads
from sigmaquant.export.qnn.folder import write_files
from sigmaquant.export.qnn.model import build_model
from sigmaquant.export.qnn.verify import verify_qnn
from sigmaquant.lowering import lower
from sigmaquant.lowering.program import Argument, FloatOperator, IntegerProgram
from sigmaquant.lowering.reference import run_reference
from sigmaquant.stages import random_inputs
from tests import nets

Builder = Any


@pytest.fixture
def build(builder: Builder) -> Builder:
    return builder()


@pytest.fixture
def program(build: Builder) -> IntegerProgram:
    """Convolutions of 4 and 8 bits, a sum, a float head of 4 bits."""
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8, bits=4)
    branch = build.convolution(build.clamp(value), 8, bits=8, groups=8)
    pooled = build.global_average(build.add(value, branch))
    return build.program(build.linear(pooled, 5, bits=4, to_float=True))


def read(folder: Path, version: str) -> Any:
    return json.loads((folder / f"encodings-{version}.json").read_text(encoding="utf-8"))


def test_the_files_agree_with_the_reference(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    result = export_qnn(program, tmp_path / "net", build.batch(6))
    assert max(result.largest_steps.values()) <= 1
    assert result.samples == 6
    files = {file.name: file.stat().st_size for file in (tmp_path / "net").iterdir()}
    assert files.keys() == {"model.onnx", "encodings-1.0.0.json", "encodings-2.0.0.json"}
    assert result.file_bytes == sum(files.values())
    assert result.kernels == {
        "Add": 1, "Clip": 1, "Conv": 2, "Gemm": 1, "GlobalAveragePool": 1, "Reshape": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "net", ["mlp", "resnet", "mobilenet", "concat", "shuffle", "conv1d", "norms", "constants"]
)
@pytest.mark.parametrize("bits", [4, 8])
def test_captured_networks(net: str, bits: int, tmp_path: Path) -> None:
    program = lower(nets.quantized(net, bits))
    result = export_qnn(program, tmp_path / "net", random_inputs(program, 4))
    assert max(result.largest_steps.values()) <= 1


def test_the_graph_is_float_and_every_value_has_an_encoding(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    export_qnn(program, tmp_path / "net", build.batch())
    model = onnx.load(tmp_path / "net" / "model.onnx")
    assert [item.domain for item in model.opset_import] == [""]
    floats = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    named = {item["name"] for item in read(tmp_path / "net", "2.0.0")["encodings"]}
    computed = {name for node in model.graph.node for name in node.output}
    limits = {node.input[index] for node in model.graph.node if node.op_type == "Clip"
              for index in (1, 2)}  # fmt: skip
    assert named == computed | {"x0"} | (set(floats) - limits)


def test_version_1_says_what_its_specification_says(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    export_qnn(program, tmp_path / "net", build.batch())
    content = read(tmp_path / "net", "1.0.0")
    assert content["version"] == "1.0.0"
    activations = {item["name"]: item for item in content["activation_encodings"]}
    parameters = {item["name"]: item for item in content["param_encodings"]}
    encoding = program.values[program.operators[0].output].encoding
    assert encoding is not None
    assert activations["x0"] == {
        "name": "x0", "enc_type": "PER_TENSOR", "dtype": "INT", "bw": 8, "is_sym": False,
        "scale": [encoding.scale], "offset": [-encoding.zero_point],
    }  # fmt: skip
    weights = program.weights[0]
    assert parameters[f"{weights.layer}.weight"] == {
        "name": f"{weights.layer}.weight", "enc_type": "PER_CHANNEL", "dtype": "INT", "bw": 4,
        "is_sym": True, "scale": weights.scales.tolist(), "offset": [-8] * 8,
    }  # fmt: skip
    bias = parameters[f"{program.operators[1].output}.bias"]
    assert (bias["bw"], bias["is_sym"], bias["offset"]) == (32, True, [-(2**31)] * 8)


def test_version_2_says_what_its_specification_says(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    export_qnn(program, tmp_path / "net", build.batch())
    content = read(tmp_path / "net", "2.0.0")
    assert content["version"] == "2.0.0"
    every = {item["name"]: item for item in content["encodings"]}
    encoding = program.values[program.operators[0].output].encoding
    assert encoding is not None
    assert every["x0"] == {
        "name": "x0", "output_dtype": "uint8",
        "y_scale": encoding.scale, "y_zero_point": encoding.zero_point,
    }  # fmt: skip
    weights = program.weights[0]
    assert every[f"{weights.layer}.weight"] == {
        "name": f"{weights.layer}.weight", "output_dtype": "int4",
        "y_scale": weights.scales.tolist(), "axis": 0,
    }  # fmt: skip
    assert every[f"{program.operators[1].output}.bias"]["output_dtype"] == "int32"


def quantize_dequantize(real: np.ndarray, item: dict[str, Any]) -> np.ndarray:
    """By ONNX's own QuantizeLinear and DequantizeLinear, to which schema 2.0.0 refers."""
    dtype = {"uint8": onnx.TensorProto.UINT8, "int8": onnx.TensorProto.INT8,
             "int4": onnx.TensorProto.INT4}[item["output_dtype"]]  # fmt: skip
    axis = {"axis": item["axis"]} if "axis" in item else {}
    helper, floating = onnx.helper, onnx.TensorProto.FLOAT
    scale = np.array(item["y_scale"], np.float32)
    zeros = np.broadcast_to(item.get("y_zero_point", 0), scale.shape).reshape(-1)
    zero_point = helper.make_tensor("zero", dtype, scale.shape, zeros.tolist())
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **axis),
         helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], **axis)],
        "g", [helper.make_tensor_value_info("x", floating, real.shape)],
        [helper.make_tensor_value_info("y", floating, real.shape)],
        [numpy_helper.from_array(scale, "scale"), zero_point],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    from onnx.reference import ReferenceEvaluator

    result: np.ndarray = ReferenceEvaluator(model).run(None, {"x": real})[0]  # type: ignore[index]
    return result


def test_weights_are_kept_by_quantizing_as_the_encodings_say(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    export_qnn(program, tmp_path / "net", build.batch())
    every = {item["name"]: item for item in read(tmp_path / "net", "2.0.0")["encodings"]}
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(tmp_path / "net" / "model.onnx").graph.initializer
    }
    for weights in program.weights:
        real = stored[f"{weights.layer}.weight"]
        scales = weights.scales.reshape(-1, *(1,) * (weights.values.ndim - 1))
        assert np.array_equal(real, weights.values * scales)
        rounded = quantize_dequantize(real, every[f"{weights.layer}.weight"])
        assert np.array_equal(rounded, real)


def test_the_folder_opens_as_a_network(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    inputs = build.batch(4)
    export_qnn(program, tmp_path / "net", inputs)
    settled = with_integer_heads(program, inputs)
    (actual,) = FORMATS["qnn"].open(tmp_path / "net")(*inputs.values())
    (expected,) = run_reference(settled, inputs).values()
    assert (
        np.abs(actual - expected).max()
        <= 2.01 * settled.values[f"{program.outputs[0]}/quantized"].encoding.scale
    )  # type: ignore[union-attr]


def test_an_input_that_is_an_output_too_keeps_both_names(build: Builder, tmp_path: Path) -> None:
    output = build.dequantize(build.quantize(build.input((3, 4, 4))))
    result = export_qnn(build.program(output), tmp_path / "net", build.batch())
    assert result.kernels == {"Identity": 1}
    names = [item["name"] for item in read(tmp_path / "net", "2.0.0")["encodings"]]
    assert sorted(names) == sorted(["x0", output])


@pytest.mark.parametrize("bits", [2, 3, 5, 6, 7])
def test_weights_of_other_widths_are_refused_by_layer(
    build: Builder, tmp_path: Path, bits: int
) -> None:
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8, bits=bits)
    program = build.program(build.dequantize(value))
    message = rf"^layer1: weights of {bits} bits; the HTP stores 4 or 8"
    with pytest.raises(UnsupportedError, match=message):
        export_qnn(program, tmp_path / "net", build.batch())
    assert list(tmp_path.iterdir()) == []


def test_narrow_activations_are_refused(builder: Builder, tmp_path: Path) -> None:
    build = builder(activation_bits=6)
    program = build.program(build.dequantize(build.quantize(build.input((3, 4, 4)))))
    with pytest.raises(UnsupportedError, match=r"quantize0\.out: activations of 6 bits; the HTP"):
        export_qnn(program, tmp_path / "net", build.batch())


def test_tables_of_unknown_functions_are_refused(build: Builder, tmp_path: Path) -> None:
    value = build.lookup(build.quantize(build.input((3, 4, 4))))
    with pytest.raises(UnsupportedError, match=r"lookup1: a table of 'random'"):
        export_qnn(build.program(build.dequantize(value)), tmp_path / "net", build.batch())


def test_a_tensor_that_is_read_as_integers_and_floats_is_refused(
    build: Builder, tmp_path: Path
) -> None:
    image = build.input((4, 8, 8))
    value = build.dequantize(build.convolution(build.quantize(image), 4))
    floats = build.append(
        FloatOperator, (image,), build.shape(image), None,
        target="aten.tanh.default", arguments=(Argument(0),), keywords={},
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="'x0' is read as float numbers and as integers"):
        export_qnn(build.program(value, floats), tmp_path / "net", build.batch())


def test_another_folder_is_never_replaced(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"files that no export wrote, such as thesis\.txt"):
        export_qnn(program, tmp_path / "net", build.batch())
    (tmp_path / "net" / "thesis.txt").unlink()
    for _ in range(2):
        export_qnn(program, tmp_path / "net", build.batch())


def test_real_data_are_asked_for(tmp_path: Path) -> None:
    from sigmaquant.stages import export

    with pytest.raises(DataError, match=r"qnn files hold .* give samples"):
        export(nets.quantized("mlp", 4), tmp_path / "net", format="qnn")


Change = Callable[[Any], None]


def tampered(
    program: IntegerProgram, inputs: dict[str, np.ndarray], folder: Path, **changes: Change
) -> None:
    """Write the files, change the content of some encodings, and verify."""
    settled = with_integer_heads(program, inputs)
    model = build_model(settled)
    write_files(model, folder)
    for name, change in changes.items():
        file = folder / f"encodings-{name[1:].replace('_', '.')}.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        change(content)
        file.write_text(json.dumps(content), encoding="utf-8")
    verify_qnn(folder, model, settled, inputs)


def test_encodings_that_differ_between_the_schemas_are_found(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    def widen(content: Any) -> None:
        content["param_encodings"][0]["scale"][0] *= 2

    name = f"{program.weights[0].layer}.weight"
    with pytest.raises(VerificationError, match=rf"'{name}' has different encodings"):
        tampered(program, build.batch(), tmp_path, v1_0_0=widen)

    def drop(content: Any) -> None:
        content["encodings"] = [item for item in content["encodings"] if item["name"] != "x0"]

    with pytest.raises(VerificationError, match="'x0' has an encoding in one schema and not"):
        tampered(program, build.batch(), tmp_path, v2_0_0=drop)


def test_an_activation_that_is_rounded_otherwise_is_found(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    name = program.operators[1].output

    def first(content: Any) -> None:
        (item,) = (item for item in content["activation_encodings"] if item["name"] == name)
        item["offset"] = [item["offset"][0] + 9]

    def second(content: Any) -> None:
        (item,) = (item for item in content["encodings"] if item["name"] == name)
        item["y_zero_point"] -= 9

    with pytest.raises(VerificationError, match=r"convolution1.*(exceeds its 8 bits|differs)"):
        tampered(program, build.batch(64), tmp_path, v1_0_0=first, v2_0_0=second)


def test_wrong_encodings_of_weights_are_found(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    name = f"{program.weights[1].layer}.weight"

    def first(content: Any) -> None:
        (item,) = (item for item in content["param_encodings"] if item["name"] == name)
        item["scale"] = [2 * scale for scale in item["scale"]]

    def second(content: Any) -> None:
        (item,) = (item for item in content["encodings"] if item["name"] == name)
        item["y_scale"] = [2 * scale for scale in item["y_scale"]]

    with pytest.raises(VerificationError, match=rf"^{name}: the file does not hold"):
        tampered(program, build.batch(), tmp_path, v1_0_0=first, v2_0_0=second)


@pytest.mark.parametrize("content", ["", "{}", '{"encodings": [{"name": "x0"}]}'])
def test_damaged_encodings_are_artifact_errors(
    program: IntegerProgram, build: Builder, tmp_path: Path, content: str
) -> None:
    export_qnn(program, tmp_path / "net", build.batch())
    (tmp_path / "net" / "encodings-2.0.0.json").write_text(content)
    with pytest.raises(ArtifactError, match="holds no export for Qualcomm's converter"):
        FORMATS["qnn"].open(tmp_path / "net")


def test_biases_are_named_by_their_results(build: Builder, tmp_path: Path) -> None:
    weights = build.weights((4, 4, 3, 3), 4)
    weights = dataclasses.replace(weights, layer="shared")
    first = build.convolution(build.quantize(build.input((4, 6, 6))), 4, weights=weights)
    second = build.convolution(first, 4, weights=weights)
    export_qnn(build.program(build.dequantize(second)), tmp_path / "net", build.batch())
    parameters = [item["name"] for item in read(tmp_path / "net", "1.0.0")["param_encodings"]]
    assert sorted(parameters) == sorted(["shared.weight", f"{first}.bias", f"{second}.bias"])
