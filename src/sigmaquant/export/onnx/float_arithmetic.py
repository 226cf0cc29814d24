"""Float operators that compute on values: functions, sums, normalizations, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sigmaquant.export.onnx.float_call import Call
from sigmaquant.lowering.program import Quantize


def _plain(kind: str) -> Callable[[Call], None]:
    """An operator that ONNX has under another name."""
    return lambda call: call.result(kind, call.input())


def _binary(kind: str) -> Callable[[Call], None]:
    return lambda call: call.result(kind, call.input(0), call.input(1))


def _sum_of_two(kind: str) -> Callable[[Call], None]:
    """``left + alpha * right`` or ``left - alpha * right``."""

    def write(call: Call) -> None:
        right, alpha = call.input(1), call.argument(2, "alpha", 1)
        if alpha != 1:
            right = call.add("Mul", right, call.graph.scalar(alpha))
        call.result(kind, call.input(0), right)

    return write


def _rsub(call: Call) -> None:
    if call.argument(2, "alpha", 1) != 1:
        call.refuse("with alpha")
    call.result("Sub", call.input(1), call.input(0))


def _rsqrt(call: Call) -> None:
    call.result("Reciprocal", call.add("Sqrt", call.input()))


def _silu(call: Call) -> None:
    call.result("Mul", call.input(), call.add("Sigmoid", call.input()))


def _gelu(call: Call) -> None:
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


def _hardswish(call: Call) -> None:
    gate = call.add("HardSigmoid", call.input(), alpha=1 / 6, beta=0.5)
    call.result("Mul", call.input(), gate)


def _hardsigmoid(call: Call) -> None:
    call.result("HardSigmoid", call.input(), alpha=1 / 6, beta=0.5)


def _leaky_relu(call: Call) -> None:
    call.result("LeakyRelu", call.input(), alpha=float(call.argument(1, "negative_slope", 0.01)))


def _elu(call: Call) -> None:
    if call.argument(2, "scale", 1) != 1 or call.argument(3, "input_scale", 1) != 1:
        call.refuse("with scales")
    call.result("Elu", call.input(), alpha=float(call.argument(1, "alpha", 1.0)))


def _mish(call: Call) -> None:
    """``x tanh(softplus(x))``, Misra 2019, eq. 1; ONNX has it since opset 18."""
    gate = call.add("Tanh", call.add("Softplus", call.input()))
    call.result("Mul", call.input(), gate)


def _prelu(call: Call) -> None:
    """One slope for all values, or one for each channel."""
    behind = [1] * (len(call.source().shape) - 1)
    slope = np.asarray(call.argument(1, "weight"), np.float32)
    call.result("PRelu", call.input(), call.graph.constant(slope.reshape(-1, *behind)))


def _clamp(call: Call) -> None:
    _limit(call, call.argument(1, "min"), call.argument(2, "max"))


def _hardtanh(call: Call) -> None:
    _limit(call, call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0))


def _clamp_min(call: Call) -> None:
    _limit(call, call.argument(1, "min"), None)


def _clamp_max(call: Call) -> None:
    _limit(call, None, call.argument(1, "max"))


def _relu6(call: Call) -> None:
    _limit(call, 0.0, 6.0)


def _limit(call: Call, low: float | None, high: float | None) -> None:
    limits = ["" if limit is None else call.graph.scalar(limit) for limit in (low, high)]
    call.result("Clip", call.input(), *limits)


def _softplus(call: Call) -> None:
    """PyTorch is linear above a threshold of 20, where float32 sees no difference."""
    if call.argument(1, "beta", 1) != 1 or call.argument(2, "threshold", 20) < 20:
        call.refuse("with its own beta or threshold")
    call.result("Softplus", call.input())


def _dropout(call: Call) -> None:
    if call.argument(2, "train"):
        call.refuse("in training mode")
    call.result("Identity", call.input())


def _softmax(call: Call) -> None:
    """Softmax, whose result stays as it is behind ``Abs``.

    Between integers ONNX Runtime would put an 8-bit softmax in its place: that rounds the inverse
    of the output's scale to an integer, and gives another integer for up to a fifth of the values.
    """
    axis = call.axis(call.argument(1, "dim"))
    output = call.operator.output
    readers = [each for each in call.sheet.program.operators if output in each.inputs]
    if any(isinstance(reader, Quantize) for reader in readers):
        call.result("Abs", call.add("Softmax", call.input(), axis=axis))
    else:
        call.result("Softmax", call.input(), axis=axis)


def _log_softmax(call: Call) -> None:
    call.result("LogSoftmax", call.input(), axis=call.axis(call.argument(1, "dim")))


def _attention(call: Call) -> None:
    """``softmax(q k^T scale + mask) v``, Vaswani et al. 2017, eq. 1."""
    query, key, value = (call.input(index) for index in range(3))
    mask, dropout = call.argument(3, "attn_mask"), call.argument(4, "dropout_p", 0.0)
    if dropout or call.argument(5, "is_causal", False) or call.argument(7, "enable_gqa", False):
        call.refuse("with dropout, a causal mask or grouped queries")
    scale = call.argument(6, "scale")
    if scale is None:
        scale = 1 / math.sqrt(call.source().shape[-1])
    order = list(range(1 + len(call.source(1).shape)))
    order[-2:] = reversed(order[-2:])
    scores = call.add("MatMul", query, call.add("Transpose", key, perm=order))
    scores = call.add("Mul", scores, call.graph.scalar(scale))
    if mask is not None:
        scores = call.add("Add", scores, call.tensor(mask))
    call.result("MatMul", call.add("Softmax", scores, axis=-1), value)


def _layer_norm(call: Call) -> None:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last dimensions."""
    normalized = call.argument(1, "normalized_shape")
    axes = list(range(-len(normalized), 0))
    weight, bias = call.argument(2, "weight"), call.argument(3, "bias")
    eps = call.graph.scalar(call.argument(4, "eps", 1e-5))
    mean = call.add("ReduceMean", call.input(), axes=axes)
    centered = call.add("Sub", call.input(), mean)
    square = call.add("Pow", centered, call.graph.scalar(2))
    variance = call.add("ReduceMean", square, axes=axes)
    deviation = call.add("Sqrt", call.add("Add", variance, eps))
    unit = call.add("Div", centered, deviation)
    scaled = call.add("Mul", unit, call.tensor(1.0 if weight is None else weight))
    call.result("Add", scaled, call.tensor(0.0 if bias is None else bias))


def _batch_norm(call: Call) -> None:
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


def _mean(call: Call) -> None:
    axes = _reduced_axes(call)
    call.result("ReduceMean", call.input(), axes=axes, keepdims=_keepdims(call))


def _sum(call: Call) -> None:
    axes = call.graph.integers(*_reduced_axes(call))
    call.result("ReduceSum", call.input(), axes, keepdims=_keepdims(call))


def _extreme(kind: str) -> Callable[[Call], None]:
    return lambda call: call.result(
        kind, call.input(), axes=_reduced_axes(call), keepdims=_keepdims(call)
    )


def _reduced_axes(call: Call) -> list[int]:
    dimensions = call.argument(1, "dim")
    if dimensions is None or dimensions in ((), []):
        call.refuse("over all dimensions")
    return [call.axis(d) for d in ([dimensions] if isinstance(dimensions, int) else dimensions)]


def _keepdims(call: Call) -> int:
    return int(call.argument(2, "keepdim", False))


WRITERS: dict[str, Callable[[Call], None]] = {
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
    "ceil.default": _plain("Ceil"),
    "floor.default": _plain("Floor"),
    "reciprocal.default": _plain("Reciprocal"),
    "softplus.default": _softplus,
    "add.Tensor": _sum_of_two("Add"),
    "add.Scalar": _sum_of_two("Add"),
    "sub.Tensor": _sum_of_two("Sub"),
    "sub.Scalar": _sum_of_two("Sub"),
    "rsub.Scalar": _rsub,
    "mul.Tensor": _binary("Mul"),
    "mul.Scalar": _binary("Mul"),
    "div.Tensor": _binary("Div"),
    "div.Scalar": _binary("Div"),
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
    "mish.default": _mish,
    "prelu.default": _prelu,
    "clamp.default": _clamp,
    "clamp_min.default": _clamp_min,
    "clamp_max.default": _clamp_max,
    "hardtanh.default": _hardtanh,
    "relu6.default": _relu6,
    "softmax.int": _softmax,
    "log_softmax.int": _log_softmax,
    "scaled_dot_product_attention.default": _attention,
    "layer_norm.default": _layer_norm,
    "batch_norm.default": _batch_norm,
    "mean.dim": _mean,
    "sum.dim_IntList": _sum,
    "amax.default": _extreme("ReduceMax"),
    "amin.default": _extreme("ReduceMin"),
    "dropout.default": _dropout,
    "clone.default": _plain("Identity"),
    "contiguous.default": _plain("Identity"),
    "detach.default": _plain("Identity"),
    "alias.default": _plain("Identity"),
}
