"""One writer for each ATen operator that can stay float in an ONNX file of opset 13.

Tensors carry the batch as dimension 0, as in PyTorch; an operator that works along it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import GraphBuilder
from sigmaquant.export.onnx.integers import Sheet
from sigmaquant.lowering.program import Argument, FloatOperator, Value


@dataclass(frozen=True)
class _Call:
    """A float operator and the sheet it is written on."""

    sheet: Sheet
    operator: FloatOperator

    @property
    def graph(self) -> GraphBuilder:
        return self.sheet.graph

    @property
    def output(self) -> Value:
        return self.sheet.value(self.operator.output)

    def refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.operator.name}: {self.operator.target} {what}; ONNX export cannot express it"
        )

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """An argument given by position or by keyword."""
        if index < len(self.operator.arguments):
            return self.operator.arguments[index]
        return self.operator.keywords.get(name, default)

    def source(self, index: int = 0) -> Value:
        """The record of the value behind a positional argument."""
        argument = self.operator.arguments[index]
        assert isinstance(argument, Argument), (self.operator.name, index)
        return self.sheet.value(self.operator.inputs[argument.index])

    def tensor(self, item: Any) -> str:
        """A value, an array or a number as a tensor."""
        if isinstance(item, Argument):
            return self.sheet.tensors[self.operator.inputs[item.index]]
        return self.graph.constant(np.asarray(item, np.float32))

    def input(self, index: int = 0) -> str:
        """A positional argument as a tensor."""
        return self.tensor(self.operator.arguments[index])

    def axis(self, dimension: int, rank: int | None = None) -> int:
        """A dimension counted from the front."""
        rank = 1 + len(self.source().shape) if rank is None else rank
        axis = dimension % rank
        if axis == 0:
            self.refuse("works along the batch dimension")
        return axis

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node on the way to the result."""
        return self.graph.add(kind, inputs, **attributes)

    def result(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """The node that writes the operator's output."""
        name, output = self.operator.name, self.sheet.tensors[self.operator.output]
        self.graph.add(kind, inputs, name=name, output=output, **attributes)


def write_float_operator(sheet: Sheet, operator: FloatOperator) -> None:
    """Append the operator's nodes.

    Raises:
        UnsupportedError: the operator, or the way it is called, has no writer.
    """
    namespace, _, rest = operator.target.partition(".")
    base, _, overload = rest.partition(".")
    # ``relu_`` is ``relu`` that writes over its input, which a graph of values does not show.
    writer = _WRITERS.get(f"{base.removesuffix('_')}.{overload}") if namespace == "aten" else None
    if writer is None:
        raise UnsupportedError(
            f"{operator.name}: ONNX export has no form for the float operator {operator.target}"
        )
    writer(_Call(sheet, operator))


def _plain(kind: str) -> Callable[[_Call], None]:
    """An operator that ONNX has under another name."""
    return lambda call: call.result(kind, call.input())


def _binary(kind: str) -> Callable[[_Call], None]:
    return lambda call: call.result(kind, call.input(0), call.input(1))


def _sum_of_two(kind: str) -> Callable[[_Call], None]:
    """``left + alpha * right`` or ``left - alpha * right``."""

    def write(call: _Call) -> None:
        right, alpha = call.input(1), call.argument(2, "alpha", 1)
        if alpha != 1:
            right = call.add("Mul", right, call.graph.scalar(alpha))
        call.result(kind, call.input(0), right)

    return write


def _rsub(call: _Call) -> None:
    if call.argument(2, "alpha", 1) != 1:
        call.refuse("with alpha")
    call.result("Sub", call.input(1), call.input(0))


def _div(call: _Call) -> None:
    if call.operator.keywords.get("rounding_mode") is not None:
        call.refuse("with a rounding mode")
    call.result("Div", call.input(0), call.input(1))


def _rsqrt(call: _Call) -> None:
    call.result("Reciprocal", call.add("Sqrt", call.input()))


def _silu(call: _Call) -> None:
    call.result("Mul", call.input(), call.add("Sigmoid", call.input()))


def _gelu(call: _Call) -> None:
    """``x/2 (1 + erf(x/sqrt 2))``, or with tanh, Hendrycks & Gimpel 2016, section 2."""
    graph, x = call.graph, call.input()
    if call.argument(1, "approximate", "none") == "none":
        scaled = call.add("Div", x, graph.scalar(math.sqrt(2)))
        inner = call.add("Erf", scaled)
    else:
        cube = call.add("Mul", call.add("Mul", x, x), x)
        cubic = call.add("Mul", cube, graph.scalar(0.044715))
        scaled = call.add("Mul", call.add("Add", x, cubic), graph.scalar(math.sqrt(2 / math.pi)))
        inner = call.add("Tanh", scaled)
    weighted = call.add("Mul", x, call.add("Add", inner, graph.scalar(1)))
    call.result("Mul", weighted, graph.scalar(0.5))


def _hardswish(call: _Call) -> None:
    gate = call.add("HardSigmoid", call.input(), alpha=1 / 6, beta=0.5)
    call.result("Mul", call.input(), gate)


def _hardsigmoid(call: _Call) -> None:
    call.result("HardSigmoid", call.input(), alpha=1 / 6, beta=0.5)


def _leaky_relu(call: _Call) -> None:
    call.result("LeakyRelu", call.input(), alpha=float(call.argument(1, "negative_slope", 0.01)))


def _elu(call: _Call) -> None:
    if call.argument(2, "scale", 1) != 1 or call.argument(3, "input_scale", 1) != 1:
        call.refuse("with scales")
    call.result("Elu", call.input(), alpha=float(call.argument(1, "alpha", 1.0)))


def _clamp(default_low: float | None, default_high: float | None) -> Callable[[_Call], None]:
    def write(call: _Call) -> None:
        low, high = default_low, default_high
        if "relu6" not in call.operator.target:
            low = call.argument(1, "min", call.operator.keywords.get("min_val", low))
            high = call.argument(2, "max", call.operator.keywords.get("max_val", high))
        limits = ["" if limit is None else call.graph.scalar(limit) for limit in (low, high)]
        call.result("Clip", call.input(), *limits)

    return write


def _softmax(kind: str) -> Callable[[_Call], None]:
    return lambda call: call.result(kind, call.input(), axis=call.axis(call.argument(1, "dim")))


def _layer_norm(call: _Call) -> None:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last dimensions."""
    normalized = call.argument(1, "normalized_shape")
    axes = list(range(-len(normalized), 0))
    weight, bias = call.argument(2, "weight"), call.argument(3, "bias")
    eps = call.graph.scalar(call.argument(4, "eps", 1e-5))
    mean = call.add("ReduceMean", call.input(), axes=axes)
    centered = call.add("Sub", call.input(), mean)
    variance = call.add("ReduceMean", call.add("Mul", centered, centered), axes=axes)
    deviation = call.add("Sqrt", call.add("Add", variance, eps))
    unit = call.add("Div", centered, deviation)
    scaled = call.add("Mul", unit, call.tensor(1.0 if weight is None else weight))
    call.result("Add", scaled, call.tensor(0.0 if bias is None else bias))


def _batch_norm(call: _Call) -> None:
    """``aten.batch_norm`` and its inference forms, with stored statistics."""
    weight, bias, mean, variance, training = call.operator.arguments[1:6]
    if training:
        call.refuse("in training mode")
    channels = call.source().shape[0]
    inputs = [
        call.tensor(np.ones(channels) if weight is None else weight),
        call.tensor(np.zeros(channels) if bias is None else bias),
        call.tensor(mean),
        call.tensor(variance),
    ]
    eps = float(call.argument(7, "eps", 1e-5))
    call.result("BatchNormalization", call.input(), *inputs, epsilon=eps)


def _mean(call: _Call) -> None:
    axes = _reduced_axes(call)
    call.result("ReduceMean", call.input(), axes=axes, keepdims=_keepdims(call))


def _sum(call: _Call) -> None:
    axes = call.graph.integers(*_reduced_axes(call))
    call.result("ReduceSum", call.input(), axes, keepdims=_keepdims(call))


def _extreme(kind: str) -> Callable[[_Call], None]:
    return lambda call: call.result(
        kind, call.input(), axes=_reduced_axes(call), keepdims=_keepdims(call)
    )


def _reduced_axes(call: _Call) -> list[int]:
    dimensions = call.argument(1, "dim")
    if dimensions is None or dimensions in ((), []):
        call.refuse("over all dimensions")
    return [call.axis(d) for d in ([dimensions] if isinstance(dimensions, int) else dimensions)]


def _keepdims(call: _Call) -> int:
    return int(call.argument(2, "keepdim", False))


def _adaptive_average(call: _Call) -> None:
    """Windows of one size, which is the case where the input is a multiple of the output."""
    inside, outside = call.source().shape[1:], call.output.shape[1:]
    if any(i % o for i, o in zip(inside, outside, strict=True)):
        call.refuse(f"from {inside} to {outside}, which needs windows of several sizes")
    if set(outside) == {1}:
        call.result("GlobalAveragePool", call.input())
        return
    window = [i // o for i, o in zip(inside, outside, strict=True)]
    call.result("AveragePool", call.input(), kernel_shape=window, strides=window)


def _average_pool(call: _Call) -> None:
    if call.argument(6, "divisor_override") is not None:
        call.refuse("with its own divisor")
    pool = _pool_attributes(call, ceil_mode=call.argument(4, "ceil_mode", False))
    include = int(call.argument(5, "count_include_pad", True))
    call.result("AveragePool", call.input(), count_include_pad=include, **pool)


def _max_pool(call: _Call) -> None:
    pool = _pool_attributes(call, ceil_mode=call.argument(5, "ceil_mode", False))
    dilations = _spread(call.argument(4, "dilation", 1), len(pool["kernel_shape"]))
    call.result("MaxPool", call.input(), dilations=dilations, **pool)


def _pool_attributes(call: _Call, ceil_mode: bool) -> dict[str, list[int]]:
    if ceil_mode:
        call.refuse("with ceil_mode, on which runtimes disagree")
    rank = len(call.source().shape) - 1
    kernel = _spread(call.argument(1, "kernel_size"), rank)
    stride = call.argument(2, "stride")
    pads = _spread(call.argument(3, "padding", 0), rank)
    strides = kernel if stride in (None, (), []) else _spread(stride, rank)
    return {"kernel_shape": kernel, "strides": strides, "pads": pads * 2}


def _spread(numbers: int | Sequence[int], rank: int) -> list[int]:
    """One number for each spatial dimension."""
    given = [numbers] if isinstance(numbers, int) else list(numbers)
    return given * rank if len(given) == 1 else given


def _upsample_nearest(call: _Call) -> None:
    """Whole factors only: elsewhere the nearest pixel hangs on the runtime's rounding."""
    inside, outside = call.source().shape[1:], call.output.shape[1:]
    if any(o % i for i, o in zip(inside, outside, strict=True)):
        call.refuse(f"from {inside} to {outside}, which is not a whole factor")
    _resize(call, mode="nearest", coordinates="asymmetric", nearest_mode="floor")


def _upsample_bilinear(call: _Call) -> None:
    align_corners = call.argument(2, "align_corners", False)
    coordinates = "align_corners" if align_corners else "pytorch_half_pixel"
    _resize(call, mode="linear", coordinates=coordinates)


def _resize(call: _Call, mode: str, coordinates: str, **attributes: Any) -> None:
    inside, outside = call.source().shape[1:], call.output.shape[1:]
    factors = [_factor(i, o) for i, o in zip(inside, outside, strict=True)]
    scales = call.graph.constant(np.array([1, 1, *factors], np.float32))
    call.result(
        "Resize",
        call.input(),
        "",
        scales,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **attributes,
    )


def _factor(inside: int, outside: int) -> np.float32:
    """A float32 scale from which a runtime's ``floor(inside * scale)`` gives ``outside``."""
    factor = np.float32(outside / inside)
    if math.floor(np.float32(inside) * factor) < outside:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor


def _linear(call: _Call) -> None:
    weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
    transposed = np.asarray(weight, np.float32).T
    if bias is None:
        call.result("MatMul", call.input(), call.tensor(transposed))
        return
    product = call.graph.add(
        "MatMul", [call.input(), call.tensor(transposed)], name=call.operator.name
    )
    call.result("Add", product, call.tensor(bias))


def _convolution(call: _Call) -> None:
    rank = len(call.source().shape) - 1
    padding = call.argument(4, "padding", 0)
    if isinstance(padding, str):
        call.refuse(f"with padding={padding!r}")
    call.result(
        "Conv",
        *_layer_inputs(call),
        strides=_spread(call.argument(3, "stride", 1), rank),
        pads=_spread(padding, rank) * 2,
        dilations=_spread(call.argument(5, "dilation", 1), rank),
        group=call.argument(6, "groups", 1),
    )


def _transposed_convolution(call: _Call) -> None:
    rank = len(call.source().shape) - 1
    call.result(
        "ConvTranspose",
        *_layer_inputs(call),
        strides=_spread(call.argument(3, "stride", 1), rank),
        pads=_spread(call.argument(4, "padding", 0), rank) * 2,
        output_padding=_spread(call.argument(5, "output_padding", 0), rank),
        group=call.argument(6, "groups", 1),
        dilations=_spread(call.argument(7, "dilation", 1), rank),
    )


def _layer_inputs(call: _Call) -> list[str]:
    bias = call.argument(2, "bias")
    return [call.input(), call.input(1)] + ([] if bias is None else [call.tensor(bias)])


def _reshape(call: _Call) -> None:
    call.result("Reshape", call.input(), call.graph.integers(-1, *call.output.shape))


def _expand(call: _Call) -> None:
    call.result("Expand", call.input(), call.graph.integers(1, *call.output.shape))


def _permute(call: _Call) -> None:
    order = [d % len(call.argument(1, "dims")) for d in call.argument(1, "dims")]
    if order[0] != 0:
        call.refuse("moves the batch dimension")
    call.result("Transpose", call.input(), perm=order)


def _transpose(call: _Call) -> None:
    order = list(range(1 + len(call.source().shape)))
    first, second = (call.axis(call.argument(1 + i, f"dim{i}")) for i in range(2))
    order[first], order[second] = second, first
    call.result("Transpose", call.input(), perm=order)


def _slice(call: _Call) -> None:
    start, stop = call.argument(2, "start"), call.argument(3, "end")
    numbers = (
        0 if start is None else start,
        np.iinfo(np.int64).max if stop is None else stop,
        call.axis(call.argument(1, "dim", 0)),
        call.argument(4, "step", 1),
    )
    call.result("Slice", call.input(), *(call.graph.integers(number) for number in numbers))


def _select(call: _Call) -> None:
    index = call.graph.constant(np.int64(call.argument(2, "index")))
    call.result("Gather", call.input(), index, axis=call.axis(call.argument(1, "dim")))


def _concat(call: _Call) -> None:
    tensors = [call.tensor(item) for item in call.operator.arguments[0]]
    rank = 1 + len(call.output.shape)
    call.result("Concat", *tensors, axis=call.axis(call.argument(1, "dim", 0), rank))


def _pad(call: _Call) -> None:
    """ATen counts from the last dimension, in pairs; ONNX gives all begins, then all ends."""
    pads = call.argument(1, "pad")
    rank = 1 + len(call.source().shape)
    pairs = [(pads[2 * i], pads[2 * i + 1]) for i in range(len(pads) // 2)]
    whole = [*[(0, 0)] * (rank - len(pairs)), *reversed(pairs)]
    numbers = [begin for begin, _ in whole] + [end for _, end in whole]
    value = call.graph.scalar(call.argument(2, "value", 0.0) or 0.0)
    call.result("Pad", call.input(), call.graph.integers(*numbers), value)


_WRITERS: dict[str, Callable[[_Call], None]] = {
    "relu.default": _plain("Relu"),
    "sigmoid.default": _plain("Sigmoid"),
    "tanh.default": _plain("Tanh"),
    "exp.default": _plain("Exp"),
    "log.default": _plain("Log"),
    "sqrt.default": _plain("Sqrt"),
    "rsqrt.default": _rsqrt,
    "neg.default": _plain("Neg"),
    "abs.default": _plain("Abs"),
    "erf.default": _plain("Erf"),
    "reciprocal.default": _plain("Reciprocal"),
    "softplus.default": _plain("Softplus"),
    "add.Tensor": _sum_of_two("Add"),
    "add.Scalar": _sum_of_two("Add"),
    "sub.Tensor": _sum_of_two("Sub"),
    "sub.Scalar": _sum_of_two("Sub"),
    "rsub.Scalar": _rsub,
    "mul.Tensor": _binary("Mul"),
    "mul.Scalar": _binary("Mul"),
    "div.Tensor": _div,
    "div.Scalar": _div,
    "pow.Tensor_Scalar": _binary("Pow"),
    "pow.Tensor_Tensor": _binary("Pow"),
    "maximum.default": _binary("Max"),
    "minimum.default": _binary("Min"),
    "matmul.default": _binary("MatMul"),
    "bmm.default": _binary("MatMul"),
    "silu.default": _silu,
    "gelu.default": _gelu,
    "hardswish.default": _hardswish,
    "hardsigmoid.default": _hardsigmoid,
    "leaky_relu.default": _leaky_relu,
    "elu.default": _elu,
    "clamp.default": _clamp(None, None),
    "hardtanh.default": _clamp(-1.0, 1.0),
    "relu6.default": _clamp(0.0, 6.0),
    "softmax.int": _softmax("Softmax"),
    "log_softmax.int": _softmax("LogSoftmax"),
    "layer_norm.default": _layer_norm,
    "batch_norm.default": _batch_norm,
    "mean.dim": _mean,
    "sum.dim_IntList": _sum,
    "amax.default": _extreme("ReduceMax"),
    "amin.default": _extreme("ReduceMin"),
    "adaptive_avg_pool1d.default": _adaptive_average,
    "adaptive_avg_pool2d.default": _adaptive_average,
    "avg_pool1d.default": _average_pool,
    "avg_pool2d.default": _average_pool,
    "max_pool1d.default": _max_pool,
    "max_pool2d.default": _max_pool,
    "upsample_nearest2d.default": _upsample_nearest,
    "upsample_nearest2d.vec": _upsample_nearest,
    "upsample_bilinear2d.default": _upsample_bilinear,
    "upsample_bilinear2d.vec": _upsample_bilinear,
    "linear.default": _linear,
    "conv1d.default": _convolution,
    "conv2d.default": _convolution,
    "conv_transpose1d.default": _transposed_convolution,
    "conv_transpose2d.input": _transposed_convolution,
    "view.default": _reshape,
    "_unsafe_view.default": _reshape,
    "reshape.default": _reshape,
    "flatten.using_ints": _reshape,
    "unflatten.int": _reshape,
    "squeeze.dim": _reshape,
    "squeeze.dims": _reshape,
    "unsqueeze.default": _reshape,
    "expand.default": _expand,
    "permute.default": _permute,
    "transpose.int": _transpose,
    "slice.Tensor": _slice,
    "select.int": _select,
    "cat.default": _concat,
    "constant_pad_nd.default": _pad,
    "pad.default": _pad,
    "dropout.default": _plain("Identity"),
    "clone.default": _plain("Identity"),
    "contiguous.default": _plain("Identity"),
    "detach.default": _plain("Identity"),
    "alias.default": _plain("Identity"),
}
"""By ATen name and overload, without the in-place underscore."""
