import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sigmaquant.errors import OutputError, UnsupportedError
from sigmaquant.export.onnx.model import METADATA_WEIGHT_BITS, build_model, write_onnx
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.lowering.program import (
    Convolution,
    Encoding,
    IntegerProgram,
    MaxPool,
    Value,
    Weights,
)
from sigmaquant.lowering.reference import run_reference

Builder = Any
FLOAT_LAYERS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}


def exported(program: IntegerProgram, folder: Path) -> tuple[OnnxRuntimeNetwork, Counter[str]]:
    """The program in ONNX Runtime, and the operators that really run there."""
    write_onnx(program, folder / "net.onnx")
    network = OnnxRuntimeNetwork(
        folder / "net.onnx", threads=1, optimized=folder / "optimized.onnx"
    )
    nodes = onnx.load(folder / "optimized.onnx").graph.node
    return network, Counter(node.op_type for node in nodes)


def assert_equal(
    network: OnnxRuntimeNetwork, program: IntegerProgram, inputs: dict[str, np.ndarray]
) -> None:
    expected, actual = run_reference(program, inputs), network.run(inputs)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape
        assert np.array_equal(actual[name], array), name


@pytest.mark.parametrize("seed", range(48))
def test_random_networks_are_bit_for_bit_the_reference(
    random_case: Callable[[int], Any], tmp_path: Path, seed: int
) -> None:
    program, inputs = random_case(seed)
    network, kinds = exported(program, tmp_path)
    assert_equal(network, program, inputs)
    assert not kinds.keys() & FLOAT_LAYERS
    counts = Counter(type(operator).__name__ for operator in program.operators)
    assert kinds["QLinearConv"] == counts["Convolution"] + counts["AveragePool"]
    assert kinds["QGemm"] == counts["Linear"]
    assert kinds["QLinearAdd"] == counts["Add"]
    assert kinds["QLinearGlobalAveragePool"] == counts["GlobalAverage"]


@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 5), (5, 4)),
        ((2, 7, 64), (2, 64, 9)),
        ((1, 300), (300, 1)),
        ((2, 3, 4, 6), (2, 3, 6, 5)),
    ],
)
def test_products_of_two_activations(
    builder: Builder, tmp_path: Path, left: tuple[int, ...], right: tuple[int, ...], bits: int
) -> None:
    """Also where another operator reads the same integers."""
    build = builder(len(left), activation_bits=bits)
    values = [build.quantize(build.input(shape)) for shape in (left, right)]
    outputs = [build.matmul(*values), build.linear(values[0], 6)]
    program = build.program(*(build.dequantize(value) for value in outputs))
    network, kinds = exported(program, tmp_path)
    assert_equal(network, program, build.batch(4))
    assert kinds["QLinearMatMul"] == 1
    assert not kinds.keys() & FLOAT_LAYERS


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"out": 1},
        {"out": 16, "groups": 4},
        {"out": 4, "groups": 4},
        {"out": 8, "stride": 2},
        {"out": 8, "dilation": 2},
    ],
)
def test_convolutions(
    builder: Builder, tmp_path: Path, options: dict[str, int], rank: int, bits: int
) -> None:
    build = builder(3, activation_bits=bits)
    source = build.quantize(build.input((4, *(9, 8)[:rank])))
    padding = ((1, 2), (0, 1))[:rank]
    output = build.convolution(source, kernel=(3,) * rank, bits=5, padding=padding, **options)
    program = build.program(build.dequantize(output))
    network, kinds = exported(program, tmp_path)
    assert_equal(network, program, build.batch())
    assert kinds["QLinearConv"] == 1


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_every_width_become_plain_int8_at_load(
    builder: Builder, tmp_path: Path, bits: int
) -> None:
    build = builder(bits)
    value = build.quantize(build.input((5, 7, 7)))
    for out in (6, 7):
        value = build.convolution(value, out, bits=bits)
    program = build.program(build.dequantize(value))
    network, kinds = exported(program, tmp_path)
    assert_equal(network, program, build.batch())
    assert kinds.keys() == {"QuantizeLinear", "Transpose", "QLinearConv", "DequantizeLinear"}
    stored = onnx.load(tmp_path / "optimized.onnx").graph.initializer
    shapes = [tuple(t.dims) for t in stored if t.data_type == onnx.TensorProto.INT8]
    assert {(6, 5, 3, 3), (7, 6, 3, 3)} <= set(shapes)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_the_file_has_the_size_of_its_bits(builder: Builder, tmp_path: Path, bits: int) -> None:
    build = builder()
    value = build.quantize(build.input((32, 8, 8)))
    for _ in range(6):
        value = build.convolution(value, 32, bits=bits)
    program = build.program(build.dequantize(value))
    write_onnx(program, tmp_path / "net.onnx")
    size = (tmp_path / "net.onnx").stat().st_size
    packed = sum(w.values.size * bits // 8 + 8 * len(w.scales) for w in program.weights)
    assert packed < size < packed + 1200 + 450 * len(program.weights)


def test_a_layer_used_twice_is_stored_once(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    first = build.convolution(build.quantize(build.input((48, 8, 8))), 48, bits=4)
    shared = build.operators[-1].weights
    second = build.convolution(first, 48, weights=shared)
    program = build.program(build.dequantize(second))
    network, _ = exported(program, tmp_path)
    assert_equal(network, program, build.batch())
    assert (tmp_path / "net.onnx").stat().st_size < 1.5 * shared.values.size / 2


@pytest.mark.parametrize(("samples", "seed"), [(1, 0), (7, 1)], ids=["one sample", "seven samples"])
def test_a_value_added_to_itself(builder: Builder, tmp_path: Path, samples: int, seed: int) -> None:
    build = builder(seed)
    value = build.quantize(build.input((3, 5, 5)))
    program = build.program(build.dequantize(build.add(value, value)))
    network, kinds = exported(program, tmp_path)
    assert_equal(network, program, build.batch(samples))
    assert kinds["QLinearAdd"] == 1


def test_two_inputs_and_two_outputs_keep_their_names(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    left, right = (build.quantize(build.input((3, 6, 6))) for _ in range(2))
    total = build.add(left, right)
    outputs = build.dequantize(total), build.linear(build.global_average(total), 2, to_float=True)
    program = build.program(*outputs)
    network, _ = exported(program, tmp_path)
    assert network.inputs == program.inputs
    assert network.outputs == outputs
    assert_equal(network, program, build.batch(5))


def test_names_that_look_like_the_writers_own_are_left_alone(
    builder: Builder, tmp_path: Path
) -> None:
    build = builder()
    build.inputs.append("t0")
    value = build.quantize(build.value("t0", (3, 6, 6), None))
    program = build.program(build.dequantize(value))
    program = dataclasses.replace(
        program,
        values={**program.values, "v0": Value("v0", (3, 6, 6), None)},
        operators=(
            *program.operators[:-1],
            dataclasses.replace(program.operators[-1], output="v0"),
        ),
        outputs=("v0",),
    )
    network, _ = exported(program, tmp_path)
    assert_equal(network, program, build.batch())


def test_operators_of_one_name_are_told_apart(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    value = build.quantize(build.input((3, 6, 6)))
    for _ in range(2):
        value = build.convolution(value, 3, kernel=(1, 1))
        build.operators[-1] = dataclasses.replace(build.operators[-1], name="shared")
    program = build.program(build.dequantize(value))
    network, _ = exported(program, tmp_path)
    assert_equal(network, program, build.batch())
    names = [node.name for node in build_model(program).graph.node if node.op_type == "Conv"]
    assert names == ["shared", "shared#2"]


def test_the_model_says_what_it_is(builder: Builder) -> None:
    build = builder()
    value = build.convolution(build.quantize(build.input((3, 6, 6))), 4, bits=3)
    model = build_model(build.program(build.dequantize(value)))
    assert model.ir_version == 7
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
    assert model.producer_name == "sigmaquant"
    (entry,) = model.metadata_props
    assert entry.key == METADATA_WEIGHT_BITS
    assert json.loads(entry.value) == {"layer1": 3}
    assert {node.name for node in model.graph.node if node.op_type == "Conv"} == {
        "block.convolution1"
    }
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_the_same_program_gives_the_same_bytes(
    random_case: Callable[[int], Any], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_onnx(random_case(5)[0], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def changed(program: IntegerProgram, **fields: Any) -> IntegerProgram:
    """The program with its second operator changed."""
    first, second, *rest = program.operators
    return dataclasses.replace(
        program, operators=(first, dataclasses.replace(second, **fields), *rest)
    )


@pytest.fixture
def convolution(builder: Builder) -> IntegerProgram:
    build = builder()
    value = build.convolution(build.quantize(build.input((3, 6, 6))), 4)
    return build.program(build.dequantize(value))


def test_widths_beyond_eight_bits_are_refused(convolution: IntegerProgram) -> None:
    second = convolution.operators[1]
    assert isinstance(second, Convolution)
    wide = Weights("stem", 9, second.weights.values, second.weights.scales)
    with pytest.raises(UnsupportedError, match="stem: weights of 9 bits"):
        build_model(changed(convolution, weights=wide))
    source = second.inputs[0]
    values = {**convolution.values, source: Value(source, (3, 6, 6), Encoding(0.1, 9, 16))}
    with pytest.raises(UnsupportedError, match=rf"value '{source}' has 16 bits"):
        build_model(dataclasses.replace(convolution, values=values))


def test_a_convolution_over_volumes_is_refused(convolution: IntegerProgram) -> None:
    weights = Weights("stem", 8, np.zeros((4, 3, 1, 1, 1), np.int8), np.ones(4, np.float32))
    with pytest.raises(UnsupportedError, match=r"block\.convolution1: 3-d convolution"):
        build_model(changed(convolution, weights=weights))


def test_a_convolution_with_float_output_is_refused(convolution: IntegerProgram) -> None:
    output = convolution.operators[1].output
    values = {**convolution.values, output: Value(output, (4, 6, 6), None)}
    with pytest.raises(UnsupportedError, match=r"block\.convolution1: .* float output"):
        build_model(dataclasses.replace(convolution, values=values))


def test_an_inexact_addition_is_refused(builder: Builder) -> None:
    build = builder()
    value = build.quantize(build.input((3,)))
    build.values[value] = Value(value, (3,), Encoding(0.1, 9, 8))
    program = build.program(build.dequantize(build.add(value, value)))
    with pytest.raises(UnsupportedError, match=r"block\.add1: the scale ratio"):
        build_model(program)


def test_max_pooling_with_wide_padding_is_refused(builder: Builder) -> None:
    build = builder()
    value = build.quantize(build.input((3, 6, 6)))
    pool = build.append(
        MaxPool, (value,), (3, 3, 3), build.values[value].encoding, kernel=(2, 2),
        stride=(3, 3), padding=((1, 1), (1, 1)), dilation=(3, 3), ceil_mode=True,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"block\.maxpool1: max pooling with padding"):
        build_model(build.program(build.dequantize(pool)))


def test_nothing_is_written_when_an_operator_is_refused(
    convolution: IntegerProgram, tmp_path: Path
) -> None:
    weights = Weights("stem", 9, np.zeros((4, 3, 3, 3), np.int8), np.ones(4, np.float32))
    with pytest.raises(UnsupportedError):
        write_onnx(changed(convolution, weights=weights), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_output_error(
    convolution: IntegerProgram, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_onnx(convolution, tmp_path / "file" / "net.onnx")
