import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import OutputError, UnsupportedError
from sigmaquant.export import export_tflite
from sigmaquant.export.heads import with_integer_heads
from sigmaquant.export.tflite.flatfile import read_metadata
from sigmaquant.export.tflite.model import (
    METADATA_LAYOUTS,
    METADATA_WEIGHT_BITS,
    build_model,
    write_tflite,
)
from sigmaquant.export.tflite.options import TfliteOptions
from sigmaquant.export.tflite.runtime import LiteRtNetwork
from sigmaquant.lowering import lower
from sigmaquant.lowering.program import (
    Encoding,
    FloatOperator,
    IntegerProgram,
    MaxPool,
    Pad,
    Value,
    Weights,
)
from sigmaquant.network import capture
from sigmaquant.quantized import quantize

Builder = Any
FAST = TfliteOptions(variant="fast")
_TYPES = {int(schema.TensorType.INT8): 8, int(schema.TensorType.INT4): 4}
_TYPES |= {int(schema.TensorType.INT2): 2, int(schema.TensorType.UINT8): "uint8"}


def parsed(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def operators(content: bytes) -> list[tuple[str, int, Any]]:
    """(name, version, operator) of each."""
    model = parsed(content)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    found = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        found.append((names[code.builtinCode], code.version, operator))
    return found


def kinds(content: bytes) -> Counter[str]:
    return Counter(name for name, _, _ in operators(content))


def weight_types(content: bytes) -> list[tuple[str, int, int]]:
    """(operator, version, stored bits) of each operator with weights."""
    tensors = parsed(content).subgraphs[0].tensors
    return [
        (name, version, _TYPES[tensors[operator.inputs[1]].type])
        for name, version, operator in operators(content)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]


def exported(
    program: IntegerProgram, inputs: dict[str, np.ndarray], folder: Path, **options: Any
) -> bytes:
    """The content of the verified file."""
    path = folder / "net.tflite"
    export_tflite(program, path, inputs, TfliteOptions(**options))
    return path.read_bytes()


@pytest.mark.parametrize("variant", ["small", "fast"])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"out": 1},
        {"out": 16, "groups": 4},
        {"out": 4, "groups": 4},
        {"out": 12, "groups": 2},
        {"out": 8, "stride": 2},
        {"out": 8, "dilation": 2},
    ],
)
def test_convolutions(
    builder: Builder, tmp_path: Path, options: dict[str, int], bits: int, rank: int, variant: str
) -> None:
    build = builder(3)
    source = build.quantize(build.input((4, *(9, 8)[:rank])))
    padding = ((1, 2), (0, 1))[:rank]
    output = build.convolution(source, kernel=(3,) * rank, bits=bits, padding=padding, **options)
    program = build.program(build.dequantize(output))
    content = exported(program, build.batch(), tmp_path, variant=variant)
    stored = bits if variant == "small" else 8
    kind = "DEPTHWISE_CONV_2D" if options.get("groups") == 4 else "CONV_2D"
    version = 7 if stored == 4 else 6 if options.get("groups") == 2 else 3
    assert weight_types(content) == [(kind, version, stored)]


class SwitchedOff(nn.Module):
    """A channel without weights, but with a bias, as training leaves them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(8, 16, 1)
        self.last = nn.Conv2d(16, 4, 1)
        with torch.no_grad():
            self.conv.weight[3] = 0
            self.conv.bias[3] = 2.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.conv(x).clamp(0, 6))
        return found


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_channel_that_is_switched_off_does_not_overflow(tmp_path: Path, bits: int) -> None:
    x = torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    network = capture(SwitchedOff().eval(), x)
    program = lower(quantize(network, BitPlan.uniform(network.table, bits), [x]))
    exported(program, {program.inputs[0]: x.numpy()}, tmp_path, variant="fast")


@pytest.mark.parametrize("variant", ["small", "fast"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_every_width_take_the_next_container(
    builder: Builder, tmp_path: Path, bits: int, variant: str
) -> None:
    build = builder(bits)
    value = build.quantize(build.input((8, 5, 5)))
    value = build.convolution(value, 8, bits=bits)
    value = build.convolution(value, 8, kernel=(1, 1), bits=bits)
    value = build.linear(build.global_average(value), 3, bits=bits)
    program = build.program(build.dequantize(value))
    content = exported(program, build.batch(), tmp_path, variant=variant)
    window, matrix = {
        "small": {2: (4, 2), 3: (4, 4), 4: (4, 4)},
        "fast": {2: (8, 4), 3: (8, 4), 4: (8, 4)},
    }[variant].get(bits, (8, 8))
    assert [stored for _, _, stored in weight_types(content)] == [window, matrix, matrix]
    pointwise = "CONV_2D" if matrix == 8 else "FULLY_CONNECTED"
    assert [name for name, _, _ in weight_types(content)][1:] == [pointwise, "FULLY_CONNECTED"]


@pytest.mark.parametrize(
    ("size", "stride", "padding", "expected"),
    [
        (8, 1, (1, 1), 0),  # SAME
        (8, 2, (1, 1), 1),  # SAME would pad behind only
        (9, 2, (1, 1), 0),  # SAME
        (8, 2, (0, 1), 0),  # SAME, as TensorFlow pads
        (8, 2, (0, 0), 0),  # VALID
        (8, 3, (0, 1), 0),  # VALID: no window reaches the padding
    ],
)
def test_padding_is_an_operator_only_where_no_mode_says_it(
    builder: Builder,
    tmp_path: Path,
    size: int,
    stride: int,
    padding: tuple[int, int],
    expected: int,
) -> None:
    build = builder()
    source = build.quantize(build.input((2, size, size)))
    output = build.convolution(source, 4, stride=stride, padding=(padding, padding))
    content = exported(build.program(build.dequantize(output)), build.batch(), tmp_path)
    assert kinds(content)["PAD"] == expected


@pytest.mark.parametrize(("zero_point", "kind"), [(0, "PAD"), (9, "PADV2")])
def test_a_maximum_is_padded_with_the_lowest_integer(
    builder: Builder, tmp_path: Path, zero_point: int, kind: str
) -> None:
    build = builder()
    source = build.quantize(build.input((3, 8, 8)))
    encoding = build.values[source].encoding
    build.values[source] = Value(
        source, (3, 8, 8), dataclasses.replace(encoding, zero_point=zero_point)
    )
    pooled = build.max_pool(source, 3, 2, (1, 1))
    content = exported(build.program(build.dequantize(pooled)), build.batch(), tmp_path)
    assert kinds(content)[kind] == 1


@pytest.mark.parametrize(
    ("kernel", "kinds_expected"),
    [(6, {"MEAN": 1}), (5, {"MEAN": 1, "STRIDED_SLICE": 1}), (3, {"DEPTHWISE_CONV_2D": 1})],
)
def test_one_window_is_a_mean_and_several_are_a_convolution(
    builder: Builder, tmp_path: Path, kernel: int, kinds_expected: dict[str, int]
) -> None:
    build = builder()
    pooled = build.average_pool(build.quantize(build.input((3, 6, 6))), kernel, kernel)
    content = exported(build.program(build.dequantize(pooled)), build.batch(40), tmp_path)
    found = kinds(content)
    assert {kind: found[kind] for kind in ("MEAN", "STRIDED_SLICE", "DEPTHWISE_CONV_2D")} == {
        "MEAN": 0, "STRIDED_SLICE": 0, "DEPTHWISE_CONV_2D": 0, **kinds_expected,
    }  # fmt: skip


def test_channels_last_images_need_no_transpose(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    value = build.convolution(build.quantize(build.input((3, 6, 4))), 5)
    program = build.program(build.dequantize(value))
    content = exported(program, build.batch(), tmp_path, channels_last=True)
    assert "TRANSPOSE" not in kinds(content)
    graph = parsed(content).subgraphs[0]
    assert list(graph.tensors[graph.inputs[0]].shape) == [1, 6, 4, 3]
    assert list(graph.tensors[graph.outputs[0]].shape) == [1, 6, 4, 5]
    layouts = json.loads(read_metadata(content)[METADATA_LAYOUTS])
    assert layouts == {"x0": [1, 2, 0], program.outputs[0]: [1, 2, 0]}


@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_an_integer_interface_has_no_float(
    builder: Builder, tmp_path: Path, interface: str
) -> None:
    build = builder(activation_bits=5)
    value = build.convolution(build.quantize(build.input((3, 6, 6))), 4)
    value = build.linear(build.global_average(value), 5, to_float=True)
    content = exported(build.program(value), build.batch(), tmp_path, interface=interface)
    graph = parsed(content).subgraphs[0]
    expected = 8 if interface == "int8" else "uint8"
    assert {_TYPES[graph.tensors[i].type] for i in (*graph.inputs, *graph.outputs)} == {expected}
    assert schema.TensorType.FLOAT32 not in {tensor.type for tensor in graph.tensors}


def test_an_input_that_is_also_an_output_is_copied(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    source = build.input((3, 4, 4))
    value = build.dequantize(build.quantize(source))
    content = exported(build.program(value, source), build.batch(), tmp_path, interface="int8")
    assert kinds(content)["RESHAPE"] == 1
    network = LiteRtNetwork(content)
    assert network.outputs == (value, source)


def test_two_inputs_and_two_outputs_keep_their_names_and_their_order(
    builder: Builder, tmp_path: Path
) -> None:
    build = builder()
    left, right = (build.quantize(build.input((3, 6, 6))) for _ in range(2))
    total = build.add(left, right)
    outputs = build.dequantize(total), build.linear(build.global_average(total), 2, to_float=True)
    program = build.program(*outputs)
    network = LiteRtNetwork(exported(program, build.batch(5), tmp_path))
    assert network.inputs == program.inputs == ("x0", "x1")
    assert network.outputs == outputs


def test_a_layer_used_twice_is_stored_once(builder: Builder, tmp_path: Path) -> None:
    build = builder()
    first = build.convolution(build.quantize(build.input((48, 4, 4))), 48, bits=8)
    shared = build.operators[-1].weights
    second = build.convolution(first, 48, weights=shared)
    content = exported(build.program(build.dequantize(second)), build.batch(), tmp_path)
    assert len(content) < 1.5 * shared.values.size


@pytest.mark.parametrize("bits", [8, 4])
def test_the_file_has_the_size_of_its_bits(builder: Builder, bits: int) -> None:
    """Packed weights, and 12 bytes a channel: scale, bias, and the bias's scale."""
    build = builder()
    value = build.quantize(build.input((32, 8, 8)))
    for _ in range(6):
        value = build.convolution(value, 32, bits=bits)
    program = build.program(build.dequantize(value))
    size = len(build_model(program).content())
    packed = sum(w.values.size * bits // 8 + 12 * len(w.scales) for w in program.weights)
    assert packed < size < packed + 3000 + 450 * len(program.weights)


def test_the_model_says_what_it_is(builder: Builder) -> None:
    build = builder()
    value = build.convolution(build.quantize(build.input((3, 6, 6))), 4, bits=3)
    content = build_model(build.program(build.dequantize(value))).content()
    assert content[4:8] == b"TFL3"
    model = parsed(content)
    assert model.version == 3
    assert model.description.startswith(b"Net by sigmaquant ")
    metadata = read_metadata(content)
    assert {key: json.loads(text) for key, text in metadata.items()} == {
        METADATA_WEIGHT_BITS: {"layer1": 3}
    }
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert {"x0", "block.convolution1.out", "block.dequantize2.out"} <= set(names)
    (signature,) = model.signatureDefs
    assert [port.name.decode() for port in signature.inputs] == ["x0"]


def test_the_same_program_gives_the_same_bytes(random_case: Callable[[int], Any]) -> None:
    programs = [with_integer_heads(*random_case(5)) for _ in range(2)]
    assert build_model(programs[0]).content() == build_model(programs[1]).content()


@pytest.fixture
def convolution(builder: Builder) -> IntegerProgram:
    build = builder()
    value = build.convolution(build.quantize(build.input((3, 6, 6))), 4)
    return build.program(build.dequantize(value))


def changed(program: IntegerProgram, **fields: Any) -> IntegerProgram:
    """The program with its second operator changed."""
    first, second, *rest = program.operators
    return dataclasses.replace(
        program, operators=(first, dataclasses.replace(second, **fields), *rest)
    )


def test_the_lowest_int8_is_refused_as_a_weight(convolution: IntegerProgram) -> None:
    weights = convolution.weights[0]
    values = weights.values.copy()
    values[0, 0, 0, 0] = -128
    program = changed(convolution, weights=dataclasses.replace(weights, values=values))
    with pytest.raises(UnsupportedError, match=r"^block\.convolution1: a weight of -128; .* anew"):
        build_model(program)


def test_widths_beyond_eight_bits_are_refused(convolution: IntegerProgram) -> None:
    weights = convolution.weights[0]
    wide = Weights("stem", 9, weights.values, weights.scales)
    with pytest.raises(UnsupportedError, match="stem: weights of 9 bits"):
        build_model(changed(convolution, weights=wide))
    source = convolution.operators[1].inputs[0]
    values = {**convolution.values, source: Value(source, (3, 6, 6), Encoding(0.1, 9, 16))}
    with pytest.raises(UnsupportedError, match=rf"value '{source}' has 16 bits"):
        build_model(dataclasses.replace(convolution, values=values))


def test_a_convolution_over_volumes_is_refused(convolution: IntegerProgram) -> None:
    weights = Weights("stem", 8, np.zeros((4, 3, 1, 1, 1), np.int8), np.ones(4, np.float32))
    with pytest.raises(UnsupportedError, match=r"block\.convolution1: 3-d convolution"):
        build_model(changed(convolution, weights=weights))


def test_float_results_of_layers_are_refused(builder: Builder, convolution: IntegerProgram) -> None:
    output = convolution.operators[1].output
    values = {**convolution.values, output: Value(output, (4, 6, 6), None)}
    with pytest.raises(UnsupportedError, match=r"block\.convolution1: .* float output"):
        build_model(dataclasses.replace(convolution, values=values))
    build = builder()
    head = build.linear(build.quantize(build.input((3,))), 2, to_float=True)
    with pytest.raises(UnsupportedError, match=r"block\.linear1: .* needs its range"):
        build_model(build.program(head))


def test_what_no_kernel_computes_is_refused_with_its_place(builder: Builder) -> None:
    build = builder()
    value = build.quantize(build.input((3, 6, 6)))
    pool = build.append(
        MaxPool, (value,), (3, 4, 4), build.values[value].encoding, kernel=(2, 2),
        stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(2, 2), ceil_mode=False,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"block\.maxpool1: max pooling with dilation"):
        build_model(build.program(build.dequantize(pool)))
    build = builder()
    deep = build.reshape(build.quantize(build.input((4, 4))), (2, 2, 2, 2, 1))
    padded = build.same(Pad, deep, (2, 2, 2, 2, 2), padding=((0, 0),) * 4 + ((0, 1),))
    with pytest.raises(UnsupportedError, match=r"block\.pad2: Pad of 6 dimensions"):
        build_model(build.program(build.dequantize(padded)))
    build = builder()
    source = build.input((4, 2, 2, 2))
    average = build.global_average(build.quantize(source))
    with pytest.raises(UnsupportedError, match=r"block\.globalaverage1: .* over 3 dimensions"):
        build_model(build.program(build.dequantize(average)))
    build = builder()
    floats = build.append(
        FloatOperator, (build.input((3,)),), (3,), None,
        target="aten.grid_sampler.default", arguments=(), keywords={},
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"block\.floatoperator0: .*grid_sampler"):
        build_model(build.program(floats))


def test_nothing_is_written_when_an_operator_is_refused(
    convolution: IntegerProgram, tmp_path: Path, builder: Builder
) -> None:
    weights = dataclasses.replace(convolution.weights[0], bits=9)
    inputs = {"x0": np.zeros((1, 3, 6, 6), np.float32)}
    with pytest.raises(UnsupportedError):
        export_tflite(changed(convolution, weights=weights), tmp_path / "net.tflite", inputs)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_output_error(
    convolution: IntegerProgram, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_tflite(build_model(convolution), tmp_path / "file" / "net.tflite")
