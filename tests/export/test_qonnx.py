import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from sigmaquant.errors import ArtifactError, UnsupportedError, VerificationError
from sigmaquant.export import export_qonnx
from sigmaquant.export.formats import FORMATS
from sigmaquant.export.onnx.graph import load_model
from sigmaquant.export.onnx.model import METADATA_WEIGHT_BITS
from sigmaquant.export.qonnx.model import write_qonnx
from sigmaquant.export.qonnx.simulation import Grid, Spelling, spelled_out
from sigmaquant.export.qonnx.verify import parameter_integers, verify_qonnx
from sigmaquant.lowering import lower
from sigmaquant.lowering.program import IntegerProgram, Lookup
from sigmaquant.lowering.reference import trace_reference
from sigmaquant.stages import random_inputs
from tests import nets

Builder = Any
DOMAIN = "qonnx.custom_op.general"


def quantized_by_definition(node: onnx.NodeProto, inputs: list[np.ndarray]) -> np.ndarray:
    """QONNX's sample implementation of Quant, for rounding to nearest."""
    real, scale, zero_point, bits = inputs
    given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert given == {"signed": given["signed"], "narrow": 0, "rounding_mode": b"ROUND"}
    lowest = -(2 ** (bits - 1)) if given["signed"] else 0
    highest = 2 ** (bits - 1) - 1 if given["signed"] else 2**bits - 1
    integers = np.round(np.clip(real / scale + zero_point, lowest, highest))
    return ((integers - zero_point) * scale).astype(np.float32)


def evaluated(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by onnx's own reference operators and the definition of Quant."""
    from onnx.reference.op_run import OpRun

    class Quant(OpRun):
        op_domain = DOMAIN

        def _run(self, *given: np.ndarray, **_: Any) -> tuple[np.ndarray]:
            return (quantized_by_definition(self.onnx_node, list(given)),)

    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    evaluator = ReferenceEvaluator(model, new_ops=[Quant])
    return dict(
        zip(evaluator.output_names, evaluator.run(None, inputs), strict=True)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_compute_what_their_integers_compute(
    random_case: Callable[[int], Any], tmp_path: Path, seed: int
) -> None:
    program, inputs = random_case(seed)
    result = export_qonnx(program, tmp_path / "net.onnx", inputs)
    assert max(result.largest_steps.values()) <= 1
    assert not result.exact
    assert result.file_bytes == (tmp_path / "net.onnx").stat().st_size
    kinds = Counter(type(operator).__name__ for operator in program.operators)
    assert result.kernels.get("Conv", 0) == kinds["Convolution"]
    assert result.kernels.get("Gemm", 0) == kinds["Linear"]


@pytest.mark.parametrize("bits", range(2, 9))
def test_an_independent_evaluation_gives_the_reference_of_the_integers(
    builder: Builder, tmp_path: Path, bits: int
) -> None:
    build = builder(bits)
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8, bits=bits, stride=2)
    branch = build.convolution(build.clamp(value), 8, bits=bits, groups=8)
    total = build.add(value, branch)
    joined = build.concat(total, build.clamp(total))
    head = build.linear(build.global_average(build.pad(joined, ((0, 0), (1, 0), (0, 1)))), 5, bits)
    program, inputs = build.program(build.dequantize(head)), build.batch()
    write_qonnx(program, tmp_path / "net.onnx")
    (output,) = program.outputs
    actual = evaluated(tmp_path / "net.onnx", inputs)[output]
    expected = trace_reference(program, inputs)[output]
    step = build.values[head].encoding.scale
    assert np.abs(actual - expected).max() <= 1.001 * step
    assert np.mean(np.abs(actual - expected) > 0.001 * step) <= 0.1


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_every_width_are_read_back(builder: Builder, tmp_path: Path, bits: int) -> None:
    build = builder(bits)
    source = build.quantize(build.input((5, 7, 7)))
    value = build.convolution(source, 6, bits=bits)
    head = build.linear(build.global_average(value), 4, bits=bits, to_float=True)
    program = build.program(head)
    write_qonnx(program, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    stored = parameter_integers(model)
    for weights in program.weights:
        assert np.array_equal(stored[f"{weights.layer}.weight"], weights.values)
    for operator in (program.operators[1], program.operators[3]):
        assert np.array_equal(stored[f"{operator.output}.bias"], operator.bias)
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    widths = [constants[n.input[3]] for n in model.graph.node if n.op_type == "Quant"]
    assert sorted(float(width) for width in widths) == sorted([bits, bits, 32, 32, 8, 8, 8])


def test_the_file_says_what_it_is(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    output = build.dequantize(build.quantize(build.input((3, 4, 4))))
    write_qonnx(build.program(output), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert {item.domain: item.version for item in model.opset_import} == {"": 13, DOMAIN: 1}
    (quant,) = model.graph.node
    assert (quant.op_type, quant.domain) == ("Quant", DOMAIN)
    assert list(quant.output) == [output]
    metadata = {item.key: item.value for item in model.metadata_props}
    assert json.loads(metadata[METADATA_WEIGHT_BITS]) == {}


def test_a_value_dequantized_twice_has_two_outputs(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    value = build.quantize(build.input((3, 4, 4)))
    program = build.program(build.dequantize(value), build.dequantize(value))
    result = export_qonnx(program, tmp_path / "net.onnx", build.batch())
    assert result.kernels == {"Identity": 1, "Quant": 1}


def test_a_layer_used_twice_is_stored_once(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    source = build.quantize(build.input((4, 6, 6)))
    weights = build.weights((4, 4, 3, 3), 3)
    first = build.convolution(source, 4, weights=weights)
    program = build.program(build.dequantize(build.convolution(first, 4, weights=weights)))
    export_qonnx(program, tmp_path / "net.onnx", build.batch())
    names = [item.name for item in onnx.load(tmp_path / "net.onnx").graph.initializer]
    assert names.count(f"{weights.layer}.weight") == 1
    assert sum(name.endswith(".bias") for name in names) == 2


@pytest.mark.parametrize(
    "net", ["resnet", "mobilenet", "shuffle", "norms", "pyramid", "two_inputs", "attention"]
)
def test_captured_networks(net: str, tmp_path: Path) -> None:
    program = lower(nets.quantized(net, 4))
    result = export_qonnx(program, tmp_path / "net.onnx", random_inputs(program, 4))
    assert max(result.largest_steps.values()) <= 1


def test_tables_of_known_functions_are_written_as_these(tmp_path: Path) -> None:
    program = lower(nets.quantized("activations", 4))
    result = export_qonnx(program, tmp_path / "net.onnx", random_inputs(program, 4))
    functions = {op.function for op in program.operators if isinstance(op, Lookup)}
    assert functions == {"silu", "hardswish", "hardsigmoid", "mul", "sub", "leaky_relu", "gelu"}
    kernels = ("Sigmoid", "HardSigmoid", "LeakyRelu", "Erf", "Gather")
    assert [result.kernels.get(kind) for kind in kernels] == [1, 2, 1, 1, 2]


def test_the_file_opens_as_a_network(random_case: Callable[[int], Any], tmp_path: Path) -> None:
    program, inputs = random_case(1)
    path = tmp_path / FORMATS["qonnx"].file
    write_qonnx(program, path)
    (output,) = FORMATS["qonnx"].open(path)(*inputs.values())
    assert output.shape == trace_reference(program, inputs)[program.outputs[0]].shape


Edit = Callable[[dict[str, np.ndarray], onnx.ModelProto], None]


def edited(program: IntegerProgram, path: Path, change: Edit) -> Path:
    """The program's file after a change behind the writer's back."""
    write_qonnx(program, path)
    model = onnx.load(path)
    constants = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    change(constants, model)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
    onnx.save(model, path)
    return path


@pytest.fixture
def build(builder: Builder) -> Builder:
    return builder()


@pytest.fixture
def program(build: Builder) -> IntegerProgram:
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8, bits=3)
    return build.program(build.linear(build.global_average(value), 5, bits=4, to_float=True))


def test_a_changed_weight_is_named(program: IntegerProgram, build: Builder, tmp_path: Path) -> None:
    name = f"{program.weights[0].layer}.weight"

    def change(constants: dict[str, np.ndarray], _: onnx.ModelProto) -> None:
        constants[name] = -constants[name]

    path = edited(program, tmp_path / "net.onnx", change)
    with pytest.raises(VerificationError, match=rf"^{name}: the file does not hold"):
        verify_qonnx(path, program, build.batch())


def test_a_changed_activation_scale_is_found(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    def change(constants: dict[str, np.ndarray], model: onnx.ModelProto) -> None:
        quant = next(n for n in model.graph.node if n.input[0] == "x0")
        constants[quant.input[1]] = constants[quant.input[1]] * np.float32(1.5)

    path = edited(program, tmp_path / "net.onnx", change)
    with pytest.raises(VerificationError, match=r"is not on its grid of 8 bits"):
        verify_qonnx(path, program, build.batch())


def test_a_changed_operator_is_named(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    def change(_: dict[str, np.ndarray], model: onnx.ModelProto) -> None:
        (pool,) = (n for n in model.graph.node if n.op_type == "GlobalAveragePool")
        pool.op_type = "GlobalMaxPool"

    path = edited(program, tmp_path / "net.onnx", change)
    with pytest.raises(VerificationError, match=r"globalaverage2 \(GlobalAverage\) differs"):
        verify_qonnx(path, program, build.batch())


@pytest.mark.parametrize("rounding", [b"CEIL", b"FLOOR"])
def test_other_rounding_is_refused(
    program: IntegerProgram, build: Builder, tmp_path: Path, rounding: bytes
) -> None:
    def change(_: dict[str, np.ndarray], model: onnx.ModelProto) -> None:
        quant = next(n for n in model.graph.node if n.input[0] == "x0")
        (mode,) = (item for item in quant.attribute if item.name == "rounding_mode")
        mode.s = rounding

    path = edited(program, tmp_path / "net.onnx", change)
    with pytest.raises(ArtifactError, match="is no Quant that rounds to nearest"):
        verify_qonnx(path, program, build.batch())


def test_biases_that_float32_cannot_hold_are_refused(build: Builder, tmp_path: Path) -> None:
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8)
    operators = list(build.operators)
    operators[1] = dataclasses.replace(operators[1], bias=operators[1].bias + 2**25)
    build.operators = operators
    with pytest.raises(UnsupportedError, match=r"convolution1: a bias of 3\d+ steps; float32"):
        write_qonnx(build.program(build.dequantize(value)), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_average_pools_with_wide_padding_are_refused(build: Builder, tmp_path: Path) -> None:
    pooled = build.average_pool(build.quantize(build.input((4, 8, 8))), padding=(2, 0))
    with pytest.raises(UnsupportedError, match=r"averagepool1: average pooling with padding"):
        write_qonnx(build.program(build.dequantize(pooled)), tmp_path / "net.onnx")


@given(
    numbers=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
    scale=st.floats(2**-10, 2**4, width=32),
    zero_point=st.integers(0, 255),
)
def test_what_is_spelled_out_is_the_definition(
    numbers: list[float], scale: float, zero_point: int
) -> None:
    from onnx.reference import ReferenceEvaluator

    real, spelling = np.array(numbers, np.float32), Spelling()
    grid = Grid(np.float32(scale), zero_point, 0, 255)  # type: ignore[arg-type]
    nodes = spelling.round("x", "y", grid)
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy"
    ]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], spelling.constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    (actual,) = ReferenceEvaluator(model).run(None, {"x": real})  # type: ignore[misc]
    steps, zero = real / np.float32(scale), np.float32(zero_point)
    integers = np.round(np.clip(steps + zero, 0, 255))
    assert np.array_equal(actual, (integers - zero) * np.float32(scale))


def test_spelling_out_leaves_the_model_alone(program: IntegerProgram, tmp_path: Path) -> None:
    write_qonnx(program, tmp_path / "net.onnx")
    model = load_model(tmp_path / "net.onnx")
    before = model.SerializeToString(deterministic=True)
    assert all(node.domain == "" for node in spelled_out(model).graph.node)
    assert model.SerializeToString(deterministic=True) == before
