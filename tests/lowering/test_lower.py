from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering import IntegerProgram, load_program, lower, run_reference, save_program
from sigmaquant.lowering.arithmetic import add_ratios
from sigmaquant.lowering.program import (
    Add,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    Linear,
    Lookup,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Quantize,
    Slice,
)
from sigmaquant.network import capture
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.quantized import QuantizedNetwork, quantize
from tests import nets

LOWERABLE = [name for name in nets.CASES if name != "fused_attention"]
AnyOperator = TypeVar("AnyOperator", bound=Operator)


def quantized(name: str, weight_bits: int = 4, activation_bits: int = 8) -> QuantizedNetwork:
    network = nets.captured(name)
    plan = BitPlan.uniform(network.table, weight_bits, activation_bits)
    return quantize(network, plan, nets.loader(name, 8))


def reference(program: IntegerProgram, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    arrays = {name: x.numpy() for name, x in zip(program.inputs, inputs, strict=True)}
    return [torch.from_numpy(y) for y in run_reference(program, arrays).values()]


def both(
    name: str, network: QuantizedNetwork, program: IntegerProgram
) -> list[tuple[Tensor, Tensor]]:
    """(fake-quantized, integer) outputs on samples that were not calibrated on."""
    inputs = nets.samples(name, nets.captured(name).batch_size or 64, seed=5)
    with torch.no_grad():
        expected = nets.flat(network(*inputs))
    return list(zip(expected, reference(program, inputs), strict=True))


def operators(program: IntegerProgram, kind: type[AnyOperator]) -> list[AnyOperator]:
    return [operator for operator in program.operators if isinstance(operator, kind)]


def named(program: IntegerProgram, name: str) -> Any:
    (found,) = (operator for operator in program.operators if operator.name == name)
    return found


@pytest.mark.parametrize("name", LOWERABLE)
@pytest.mark.parametrize("weight_bits", [8, 3])
def test_the_integers_compute_what_fake_quantization_computes(name: str, weight_bits: int) -> None:
    """With 8-bit activations, up to the rounding of biases and the values that this tips over."""
    network = quantized(name, weight_bits)
    for expected, actual in both(name, network, lower(network)):
        difference = (expected - actual).abs()
        assert float(difference.mean()) < 0.01 * float(expected.std())
        assert float(difference.max()) < 0.1 * float(expected.std())
        agree = expected.flatten(1).argmax(1) == actual.flatten(1).argmax(1)
        assert float(agree.float().mean()) >= 0.96


def settle(network: QuantizedNetwork, program: IntegerProgram) -> None:
    """Give the network the scales and biases that lowering has rounded."""
    places, parts = network.network.places, network.network.encodings
    writers = {clamp: node for node, clamp in parts.fused.items()}
    with torch.no_grad():
        for node, group in parts.groups.items():
            # A clamp that is part of a layer or sum has no value of its own.
            place = places[writers.get(node, node)]
            value = program.values.get(f"{place}/quantized", program.values.get(place))
            if value is not None and value.encoding is not None:
                network.activation_quantizer(group).scale.fill_(value.encoding.scale)
        for nodes in network.network.layer_nodes().values():
            for node in nodes:
                operator = named(program, places[node])
                encoding = program.values[operator.inputs[0]].encoding
                real = operator.bias * (encoding.scale * operator.weights.scales)
                bias = tensor_of(network.graph_module, arguments_of(node)[2])
                bias.copy_(torch.from_numpy(real))


@pytest.mark.parametrize("name", [name for name in LOWERABLE if name != "tied"])
def test_nothing_but_rounding_sets_them_apart(name: str) -> None:
    """With the same scales and biases, and coarse activations, hardly a value differs.

    Those that do lie next to a tie, which float32 breaks either way and integers to even.
    """
    network = quantized(name, 4, 5)
    program = lower(network)
    settle(network, program)
    for expected, actual in both(name, network, program):
        different = (expected - actual).abs() > 1e-3 * expected.std()
        assert float(different.float().mean()) < 0.001


@pytest.mark.parametrize("name", LOWERABLE)
def test_programs_are_well_formed(name: str) -> None:
    network = quantized(name)
    before = network.state()
    program = lower(network)
    written = set(program.inputs)
    for operator in program.operators:
        assert set(operator.inputs) <= written, operator.name
        assert operator.output not in written
        written.add(operator.output)
    assert written == set(program.values)
    assert set(program.outputs) <= written
    assert all(program.values[output].encoding is None for output in program.outputs)
    names = [operator.name for operator in program.operators]
    assert len(set(names)) == len(names)
    for add in operators(program, Add):
        a, b, c = (program.values[v].encoding for v in (*add.inputs, add.output))
        assert isinstance(a, Encoding)
        assert isinstance(b, Encoding)
        assert isinstance(c, Encoding)
        add_ratios(a, b, c, add.fraction_bits, add.name)
    for concat in operators(program, Concat):
        encodings = {program.values[v].encoding for v in (*concat.inputs, concat.output)}
        assert len(encodings) == 1
    assert [weights.layer for weights in program.weights] == [
        layer.name for layer in network.network.table.layers
    ]
    assert all(torch.equal(value, before[key]) for key, value in network.state().items())


@pytest.mark.parametrize("name", LOWERABLE)
def test_programs_can_be_stored(name: str, tmp_path: Path) -> None:
    program = lower(quantized(name))
    save_program(program, tmp_path / "program.safetensors")
    loaded = load_program(tmp_path / "program.safetensors")
    inputs = nets.samples(name)
    for a, b in zip(reference(program, inputs), reference(loaded, inputs), strict=True):
        assert torch.equal(a, b)


def test_a_plan_of_mixed_widths_is_what_the_record_holds() -> None:
    network = nets.captured("resnet")
    widths = {layer.name: 2 + index for index, layer in enumerate(network.table.layers)}
    plan = BitPlan.uniform(network.table, 8).with_weight_bits(widths)
    program = lower(quantize(network, plan, nets.loader("resnet")))
    assert {weights.layer: weights.bits for weights in program.weights} == widths
    for weights in program.weights:
        assert weights.values.dtype == np.int8
        assert weights.values.min() >= -(2 ** (weights.bits - 1))
        assert weights.values.max() < 2 ** (weights.bits - 1)
        assert weights.scales.dtype == np.float32
        assert weights.scales.shape == weights.values.shape[:1]


def test_activation_widths_are_what_the_record_holds() -> None:
    network = nets.captured("resnet")
    bits = {group: 3 + index % 6 for index, group in enumerate(network.table.groups)}
    plan = BitPlan.uniform(network.table, 8).model_copy(update={"activation_bits": bits})
    program = lower(quantize(network, plan, nets.loader("resnet")))
    found = {
        network.encodings.groups[node]: program.values[place].encoding
        for node, place in network.places.items()
        if place in program.values and node in network.encodings.groups
    }
    for group, encoding in found.items():
        assert encoding is None or encoding.bits == bits[group]


def test_a_linear_head_gives_float_and_a_convolution_does_not() -> None:
    program = lower(quantized("multi_output"))
    assert program.values[named(program, "classes").output].encoding is None
    assert program.values[named(program, "mask").output].encoding is not None
    assert program.outputs == ("mask/float", "classes")
    assert named(program, "mask/float").inputs == ("mask",)


def test_float_operators_stand_between_dequantize_and_quantize() -> None:
    program = lower(quantized("unknown"))
    operator = named(program, "cumsum")
    assert isinstance(operator, FloatOperator)
    assert operator.target == "aten.cumsum.default"
    assert isinstance(named(program, operator.inputs[0]), Dequantize)
    assert isinstance(named(program, "cumsum/quantized"), Quantize)
    assert named(program, "after").inputs == ("cumsum/quantized",)


def test_a_value_is_dequantized_once_however_often_it_is_read() -> None:
    program = lower(quantized("grid_sample"))
    outputs = [operator.inputs for operator in operators(program, Dequantize)]
    assert len(set(outputs)) == len(outputs)


def test_one_weight_is_stored_once() -> None:
    program = lower(quantized("tied"))
    first, second, *_ = operators(program, Linear)
    assert first.weights is second.weights
    assert not np.array_equal(first.bias, second.bias)
    assert len(operators(program, Linear)) == 5
    assert len(program.weights) == 3


def test_a_relu_that_the_range_enforces_needs_no_operator() -> None:
    assert not operators(lower(quantized("resnet")), Clamp)
    assert not operators(lower(quantized("mobilenet")), Clamp)


def test_a_clamp_is_written_where_the_encoding_reaches_further() -> None:
    # The sum before its ReLU shares an encoding with one that goes below zero.
    program = lower(quantized("pyramid"))
    (clamp,) = operators(program, Clamp)
    encoding = program.values[clamp.output].encoding
    assert encoding is not None
    assert encoding.zero_point > 0
    assert (clamp.name, clamp.low, clamp.high) == (
        "relu_2",
        encoding.zero_point,
        encoding.highest,
    )
    # Read both before and after its ReLU.
    names = [clamp.name for clamp in operators(lower(quantized("pre_activation")), Clamp)]
    assert names == ["relu", "relu_2"]


class Clipped(nn.Module):
    """A ReLU6 whose result is joined with values far beyond six."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.cat((F.relu6(5 * self.a(x)), 20 * x), 1)).mean((2, 3))


def test_both_ends_of_a_clamp_are_enforced() -> None:
    network = capture(Clipped(), torch.ones(2, 3, 4, 4))
    x = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    program = lower(quantize(network, BitPlan.uniform(network.table, 8), [x]))
    (clamp,) = operators(program, Clamp)
    encoding = program.values[clamp.output].encoding
    assert encoding is not None
    assert clamp.low == encoding.zero_point
    assert (clamp.high - encoding.zero_point) * encoding.scale == pytest.approx(
        6, abs=encoding.scale
    )
    assert clamp.high < encoding.highest


def test_pads_become_part_of_the_only_convolution_that_reads_them() -> None:
    program = lower(quantized("asymmetric_pad"))
    assert named(program, "a").padding == ((0, 1), (0, 1))
    assert named(program, "b").padding == ((1, 1), (1, 1))
    (pad,) = operators(program, Pad)
    assert pad.padding == ((0, 0), (1, 0), (1, 0))
    program = lower(quantized("same_padding"))
    # Two rows need one row more, four columns three: the odd one at the end.
    assert named(program, "even").padding == ((0, 1), (1, 2))
    assert named(program, "odd").padding == ((2, 2), (2, 2))
    assert named(program, "valid").padding == ((0, 0), (0, 0))
    assert not operators(program, Pad)


def test_a_pad_of_channels_stays() -> None:
    (pad,) = operators(lower(quantized("resnet")), Pad)
    assert pad.padding == ((2, 2), (0, 0), (0, 0))


class PadsTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(F.pad(x, (1, 0)), (0, 2, 1, 0))).mean((2, 3))


def test_a_pad_adds_to_the_convolutions_own_padding() -> None:
    network = capture(PadsTwice(), torch.ones(2, 3, 6, 6))
    x = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    quantized = quantize(network, BitPlan.uniform(network.table, 8), [x])
    program = lower(quantized)
    assert named(program, "conv").padding == ((2, 1), (1, 3))
    with torch.no_grad():
        assert torch.allclose(reference(program, (x,))[0], quantized(x), atol=0.02)


def test_slices_permutations_and_pools_keep_their_arguments() -> None:
    program = lower(quantized("resnet"))
    (every_second,) = operators(program, Slice)
    assert (every_second.axes, every_second.steps) == ((1, 2), (2, 2))
    assert (every_second.starts, every_second.stops) == ((0, 0), (8, 8))
    (permute,) = operators(lower(quantized("shuffle")), Permute)
    assert permute.order == (1, 0, 2, 3)
    (pool,) = operators(lower(quantized("pools")), MaxPool)
    assert (pool.kernel, pool.stride, pool.padding, pool.ceil_mode) == (
        (3, 3),
        (2, 2),
        ((1, 1), (1, 1)),
        True,
    )


@pytest.mark.parametrize("activation_bits", [8, 4])
def test_lookup_tables_hold_the_nearest_integers(activation_bits: int) -> None:
    program = lower(quantized("activations", 8, activation_bits))
    functions = {
        "silu": F.silu,
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "leaky_relu": F.leaky_relu,
        "gelu": F.gelu,
        "mul": lambda x: x * 2,
        "sub": lambda x: x - 1,
    }
    lookups = operators(program, Lookup)
    assert {lookup.function for lookup in lookups} == set(functions)
    for lookup in lookups:
        given = program.values[lookup.inputs[0]].encoding
        wanted = program.values[lookup.output].encoding
        assert given is not None
        assert wanted is not None
        assert lookup.table.shape == (2**activation_bits,)
        assert lookup.table.max() <= wanted.highest
        x = (torch.arange(given.highest + 1) - given.zero_point) * given.scale
        steps = functions[lookup.function](x).numpy() / wanted.scale + wanted.zero_point
        distance = np.abs(np.clip(steps, 0, wanted.highest) - lookup.table)
        assert distance.max() <= 0.5 + 1e-3


def test_activations_that_uint8_cannot_hold_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"activations of 16 bits at x: .* search with"):
        lower(quantized("mlp", 8, 16))


def test_an_accumulator_that_could_overflow_is_refused() -> None:
    network = quantized("mlp")
    network.bias("hidden").data[3] = 1e9
    with pytest.raises(
        UnsupportedError, match=r"hidden: the accumulator of output channel 3.*1e\+09"
    ):
        lower(network)


def test_an_accumulator_that_just_fits_is_taken() -> None:
    network = quantized("mlp", 8)
    encoding = network.activation_quantizer("x").encoding()
    scale = float(network.weight_quantizer("hidden").safe_scale().detach()[3])
    room = 2**31 - 1 - 6 * 128 * 255
    network.bias("hidden").data[3] = room * encoding.scale * scale * 0.9999
    program = lower(network)
    assert int(named(program, "hidden").bias[3]) == pytest.approx(room, rel=2e-4)
    reference(program, nets.samples("mlp"))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embed(tokens).mean(1))


class ClassToken(nn.Module):
    """A learned token before the others, as in vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1)).mean(1)


class Largest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).max(dim=1).values)


class Transposed(Largest):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.softmax(self.a(x).transpose(0, 1), 0).sum(0))


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (Tokens(), torch.ones(4, 3).long(), "input 'tokens' holds torch.int64"),
        (ClassToken(), torch.ones(4, 3, 4), r"expand \(expand.default\) makes a batch of a const"),
        (Largest(), torch.ones(4, 3, 4), "takes one of several results of max.dim"),
        (Transposed(), torch.ones(4, 3, 4), r"softmax .* whose first dimension is the batch"),
    ],
)
def test_what_the_record_cannot_hold_is_refused(
    model: nn.Module, example: Tensor, message: str
) -> None:
    network = capture(model, example)
    quantized = quantize(network, BitPlan.uniform(network.table, 8), [example])
    with pytest.raises(UnsupportedError, match=message):
        lower(quantized)


def test_convolutions_in_one_dimension() -> None:
    program = lower(quantized("conv1d"))
    first, second = operators(program, Convolution)
    assert (first.stride, first.padding, first.dilation, first.groups) == ((2,), ((2, 2),), (1,), 1)
    assert (second.stride, second.padding, second.dilation, second.groups) == (
        (1,),
        ((0, 0),),
        (2,),
        3,
    )
