import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sigmaquant.errors import DataError, UnsupportedError
from sigmaquant.lowering import arithmetic
from sigmaquant.lowering.program import (
    Add,
    Argument,
    AveragePool,
    BatchSize,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Linear,
    Lookup,
    MatMul,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Quantize,
    Reshape,
    Slice,
    Value,
    Weights,
)
from sigmaquant.lowering.reference import apply_operator, run_reference, trace_reference

INPUT = Encoding(0.25, 100, 8)
OUTPUT = Encoding(2.0, 120, 8)


def program_of(
    *operators: Operator, **shapes: tuple[tuple[int, ...], Encoding | None]
) -> IntegerProgram:
    values = {name: Value(name, shape, encoding) for name, (shape, encoding) in shapes.items()}
    return IntegerProgram("Net", values, operators, ("x",), ("y",))


def run_one(
    operator: Operator, source: np.ndarray, shape: tuple[int, ...], output: Encoding | None = INPUT
) -> np.ndarray:
    """The operator's output on the integers ``source`` (batch, ...) in the encoding ``INPUT``."""
    program = program_of(operator, x=(source.shape[1:], INPUT), y=(shape, output))
    return apply_operator(program, operator, [source])


def integers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, tuple[int, ...]]:
    """A convolution and its input's shape without batch."""
    rank = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 2, 4]))
    channels, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    sizes = [draw(st.integers(5, 8)) for _ in range(rank)]
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    weights = Weights(
        "conv",
        8,
        random.integers(-128, 128, (out, channels // groups, *kernel)).astype(np.int8),
        random.uniform(0.01, 0.02, out).astype(np.float32),
    )
    bias = random.integers(-3000, 3000, out).astype(np.int32)
    stride = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    operator = Convolution("conv", ("x",), "y", weights, bias, stride, padding, dilation, groups)
    return operator, (channels, *sizes)


@settings(deadline=None)
@given(case=convolutions(), seed=st.integers(0, 2**16))
def test_convolution_accumulates_like_pytorch_in_float64(
    case: tuple[Convolution, tuple[int, ...]], seed: int
) -> None:
    operator, shape = case
    source = integers(seed, 2, *shape)
    flat = [side for pair in reversed(operator.padding) for side in pair]
    padded = F.pad(torch.from_numpy(source).double() - INPUT.zero_point, flat)
    convolve = F.conv1d if len(shape) == 2 else F.conv2d
    accumulator = convolve(
        padded,
        torch.from_numpy(operator.weights.values).double(),
        torch.from_numpy(operator.bias).double(),
        operator.stride,
        0,
        operator.dilation,
        operator.groups,
    ).numpy()
    multiplier = arithmetic.layer_multiplier(INPUT.scale, operator.weights.scales, OUTPUT.scale)
    expected = arithmetic.requantize(
        accumulator, multiplier.reshape(-1, *(1,) * (len(shape) - 1)), OUTPUT
    )
    assert np.array_equal(run_one(operator, source, expected.shape[1:], OUTPUT), expected)


@pytest.mark.parametrize("leading", [(), (5,)])
def test_linear_over_the_last_dimension(leading: tuple[int, ...]) -> None:
    weights = Weights("head", 8, integers(1, 3, 7).view(np.int8), np.float32([0.5, 0.25, 0.125]))
    bias = np.array([-4, 0, 900], np.int32)
    source = integers(2, 2, *leading, 7)
    accumulator = (source.astype(int) - 100) @ weights.values.astype(int).T + bias
    linear = Linear("head", ("x",), "y", weights, bias)
    real = run_one(linear, source, (*leading, 3), None)
    assert real.dtype == np.float32
    assert np.array_equal(real, accumulator * (0.25 * weights.scales))
    quantized = run_one(linear, source, (*leading, 3), OUTPUT)
    assert np.array_equal(quantized, np.clip(np.rint(real / 2.0) + 120, 0, 255))


def test_an_accumulator_beyond_int32_is_caught() -> None:
    weights = Weights("head", 8, np.ones((1, 4), np.int8), np.ones(1, np.float32))
    linear = Linear("head", ("x",), "y", weights, np.array([2**31 - 1], np.int32))
    with pytest.raises(AssertionError, match="head: accumulator beyond int32"):
        run_one(linear, np.full((1, 4), 255, np.uint8), (1,), None)


def test_matmul_multiplies_centered_matrices() -> None:
    left, right, output = Encoding(0.5, 10, 8), Encoding(0.25, 20, 8), Encoding(1.0, 3, 8)
    product = MatMul("scores", ("a", "b"), "y")
    program = program_of(product, a=((2, 2), left), b=((2, 1), right), y=((2, 1), output))
    a = np.array([[[11, 12], [10, 255]]], np.uint8)
    b = np.array([[[22], [25]]], np.uint8)
    # 12 / 8 = 1.5 is a tie and goes to 2; 245 * 5 / 8 = 153.125.
    assert apply_operator(program, product, [a, b]).tolist() == [[[5], [156]]]


def test_add_rescales_both_inputs() -> None:
    left, right, output = Encoding(0.5, 10, 8), Encoding(0.75, 20, 8), Encoding(1.0, 3, 8)
    add = Add("join", ("a", "b"), "y", fraction_bits=2)
    program = program_of(add, a=((4,), left), b=((4,), right), y=((4,), output))
    a = np.array([[11, 12, 13, 0]], np.uint8)
    b = np.array([[20, 22, 21, 0]], np.uint8)
    # 3 + 0.5 is a tie and goes to 4; 3 + 2.5 = 5.5 to 6; 3 + 2.25; 3 - 20 saturates.
    assert apply_operator(program, add, [a, b]).tolist() == [[4, 6, 5, 0]]


@pytest.mark.parametrize(("keepdim", "shape"), [(False, (3,)), (True, (3, 1, 1))])
def test_global_average(keepdim: bool, shape: tuple[int, ...]) -> None:
    source = integers(3, 2, 3, 4, 5)
    output = Encoding(0.125, 128, 8)
    result = run_one(GlobalAverage("pool", ("x",), "y", keepdim), source, shape, output)
    mean = (source.astype(float) - 100).mean((2, 3)) * 0.25
    assert np.abs((result.reshape(2, 3) - 128.0) * 0.125 - mean).max() <= 0.0625 + 1e-6


def test_average_pool_counts_padding_as_zero() -> None:
    source = integers(4, 2, 3, 6, 6)
    operator = AveragePool("pool", ("x",), "y", (3, 3), (2, 2), ((1, 1), (1, 1)))
    result = run_one(operator, source, (3, 3, 3), INPUT)
    centered = torch.from_numpy(source).double() - 100
    expected = F.avg_pool2d(centered, 3, 2, 1).numpy() + 100
    assert np.abs(result - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(2, 2, 0, 1), (3, 2, 1, 1), (3, 3, 1, 2), (2, 3, 1, 1)],
)
def test_max_pool_is_pytorchs(
    kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> None:
    source = integers(5, 2, 3, 8, 7)
    expected = F.max_pool2d(
        torch.from_numpy(source).float(), kernel, stride, padding, dilation, ceil_mode
    ).numpy()
    pads = ((padding,) * 2,) * 2
    window = ((kernel,) * 2, (stride,) * 2, pads, (dilation,) * 2, ceil_mode)
    operator = MaxPool("pool", ("x",), "y", *window)
    assert np.array_equal(run_one(operator, source, expected.shape[1:]), expected)


def test_operators_that_move_integers() -> None:
    source = integers(6, 2, 3, 4)
    padded = run_one(Pad("p", ("x",), "y", ((0, 1), (2, 0))), source, (4, 6))
    assert np.array_equal(padded[:, :3, 2:], source)
    assert (padded[:, 3] == INPUT.zero_point).all()
    assert np.array_equal(run_one(Reshape("r", ("x",), "y"), source, (12,)), source.reshape(2, 12))
    permuted = run_one(Permute("t", ("x",), "y", (1, 0)), source, (4, 3))
    assert np.array_equal(permuted, source.transpose(0, 2, 1))
    cut = run_one(Slice("s", ("x",), "y", (0, 1), (1, 1), (3, 9), (1, 2)), source, (2, 2))
    assert np.array_equal(cut, source[:, 1:3, 1::2])
    clamped = run_one(Clamp("c", ("x",), "y", 100, 200), source, (3, 4))
    assert np.array_equal(clamped, source.clip(100, 200))
    table = integers(7, 256)
    looked_up = run_one(Lookup("l", ("x",), "y", table, "silu"), source, (3, 4))
    assert np.array_equal(looked_up, table[source])


def test_concat() -> None:
    concat = Concat("cat", ("a", "b"), "y", axis=0)
    program = program_of(concat, a=((2, 3), INPUT), b=((1, 3), INPUT), y=((3, 3), INPUT))
    a, b = integers(8, 2, 2, 3), integers(9, 2, 1, 3)
    assert np.array_equal(apply_operator(program, concat, [a, b]), np.concatenate([a, b], 1))


def softmax_program(target: str = "aten.softmax.int") -> IntegerProgram:
    return program_of(
        Quantize("in", ("x",), "q"),
        Dequantize("out", ("q",), "r"),
        FloatOperator("attention.softmax", ("r",), "y", target, (Argument(0), -1, None), {}),
        x=((4,), None),
        q=((4,), INPUT),
        r=((4,), None),
        y=((4,), None),
    )


def test_a_program_runs_and_shows_every_value() -> None:
    inputs = {"x": np.float32([[0, 1, 2, 30], [-1, 0, 0, 0]])}
    values = trace_reference(softmax_program(), inputs)
    assert values.keys() == {"x", "q", "r", "y"}
    assert values["q"].dtype == np.uint8
    assert np.allclose(values["y"].sum(1), 1)
    outputs = run_reference(softmax_program(), inputs)
    assert outputs.keys() == {"y"}
    assert np.array_equal(outputs["y"], values["y"])


def test_float_operators_take_arrays_lists_batch_size_and_keyword_only_arguments() -> None:
    shift = np.float32([1, 2])
    add = FloatOperator("a", ("x",), "y", "aten.add.Tensor", (Argument(0), shift, 2), {})
    source = np.float32([[1, 2], [3, 4]])
    program = program_of(add, x=((2,), None), y=((2,), None))
    assert run_reference(program, {"x": source})["y"].tolist() == [[3, 6], [5, 8]]
    cat = FloatOperator("c", ("x",), "y", "aten.cat.default", ([Argument(0), Argument(0)], 1), {})
    program = program_of(cat, x=((2,), None), y=((4,), None))
    assert run_reference(program, {"x": source})["y"].tolist() == [[1, 2, 1, 2], [3, 4, 3, 4]]
    view = FloatOperator(
        "v", ("x",), "y", "aten.view.default", (Argument(0), [BatchSize(), 2, 1]), {}
    )
    program = program_of(view, x=((2,), None), y=((2, 1), None))
    assert run_reference(program, {"x": source})["y"].shape == (2, 2, 1)


def test_float_operators_that_write_over_their_input_leave_it_alone() -> None:
    relu = FloatOperator("r", ("x",), "y", "aten.relu_.default", (Argument(0),), {})
    program = program_of(relu, x=((2,), None), y=((2,), None))
    values = trace_reference(program, {"x": np.float32([[-1, 1]])})
    assert values["x"].tolist() == [[-1, 1]]
    assert values["y"].tolist() == [[0, 1]]


@pytest.mark.parametrize("target", ["aten.no_such_operator.default", "aten.softmax"])
def test_an_unknown_float_operator_is_named(target: str) -> None:
    with pytest.raises(UnsupportedError, match=f"attention.softmax: .*{target}"):
        run_reference(softmax_program(target), {"x": np.zeros((1, 4))})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": np.zeros((1, 4))}, r"no data for the inputs \['x'\]"),
        ({"x": np.zeros((1, 5))}, r"'x': shape \(1, 5\)"),
        ({"x": np.zeros((0, 4))}, "batch size of at least 1"),
        ({"x": np.full((1, 4), np.nan)}, "in: NaN"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run_reference(softmax_program(), inputs)
