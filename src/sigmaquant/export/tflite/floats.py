"""Writers of the ATen operators that can stay float in a TensorFlow Lite file.

Tensors carry the batch as dimension 0, as in PyTorch; an operator that works along it is refused.
Operators of one value are written in the layout that the value has; the others in the network's
own, unless a kernel wants another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.float_call import FloatCall, aten_key
from sigmaquant.export.tflite.flatfile import FLOAT32
from sigmaquant.export.tflite.layout import Layout, channels_last, plain
from sigmaquant.export.tflite.sheet import Sheet
from sigmaquant.lowering.program import Argument, FloatOperator

_IMAGE_RANK = 3  # without the batch


@dataclass(frozen=True)
class Call(FloatCall):
    """A float operator and the sheet it is written on."""

    sheet: Sheet

    def input(self, index: int = 0, layout: Layout | None = None) -> int:
        """A value behind a positional argument; by default in the network's own dimensions."""
        source = self.source(index)
        return self.sheet.tensor(source.name, layout or plain(len(source.shape)))

    def layout(self) -> Layout:
        """How the first value is stored where it was written."""
        return self.sheet.layout(self.source().name)

    def constant(self, numbers: npt.ArrayLike) -> int:
        """Numbers as a float tensor."""
        return self.sheet.graph.constant(np.asarray(numbers, np.float32))

    def operand(self, index: int, layout: Layout) -> int:
        """A value, an array or a number that is broadcast against the output, in a layout."""
        item, rank = self.operator.arguments[index], 1 + len(self.output.shape)
        if isinstance(item, Argument):
            if 1 + len(self.source(index).shape) != rank:
                self.refuse("on values with different numbers of dimensions")
            return self.input(index, layout)
        if not isinstance(item, np.ndarray | int | float):
            self.refuse(f"with the argument {item!r}")
        array = np.asarray(item, np.float32)
        if array.size == 1:
            return self.constant(array.reshape(1))
        whole = array.reshape((1,) * (rank - array.ndim) + array.shape)
        return self.constant(layout.stored(whole))

    def add(
        self, kind: str, *inputs: int, shape: Sequence[int] | None = None, **options: Any
    ) -> int:
        """An operator on the way; its shape, with batch, is by default that of broadcasting."""
        graph = self.sheet.graph
        if shape is None:
            shape = np.broadcast_shapes(*(graph.record(tensor).shape for tensor in inputs))
        return graph.add(kind, inputs, graph.tensor("", shape, FLOAT32), **options)

    def result(self, kind: str, *inputs: int, layout: Layout | None = None, **options: Any) -> None:
        """The operator that writes the output."""
        stored = layout or plain(len(self.output.shape))
        self.sheet.moved(kind, inputs, self.operator.output, stored, **options)


def write_float_operator(sheet: Sheet, operator: FloatOperator) -> None:
    """Append the operator's nodes.

    Raises:
        UnsupportedError: the operator, or the way it is called, has no writer.
    """
    key = aten_key(operator)
    writer = None if key is None else WRITERS.get(key)
    if writer is None:
        raise UnsupportedError(
            f"{operator.name}: TensorFlow Lite export has no form for the float operator "
            f"{operator.target}"
        )
    writer(Call(operator, sheet.program, "TensorFlow Lite", sheet))


def _unary(kind: str, **options: Any) -> Callable[[Call], None]:
    def write(call: Call) -> None:
        layout = call.layout()
        call.result(kind, call.input(0, layout), layout=layout, **options)

    return write


def _same(call: Call) -> None:
    """No operator at all."""
    place = call.sheet.places[call.source().name]
    call.sheet.keep(call.operator.output, place.tensor, place.layout)


def _dropout(call: Call) -> None:
    if call.argument(2, "train"):
        call.refuse("in training mode")
    _same(call)


def _silu(call: Call) -> None:
    layout = call.layout()
    source = call.input(0, layout)
    call.result("MUL", source, call.add("LOGISTIC", source), layout=layout)


def _gelu(call: Call) -> None:
    approximate = call.argument(1, "approximate", "none") == "tanh"
    _unary("GELU", approximate=approximate)(call)


def _leaky_relu(call: Call) -> None:
    _unary("LEAKY_RELU", alpha=float(call.argument(1, "negative_slope", 0.01)))(call)


def _clamp(call: Call) -> None:
    _limit(call, call.argument(1, "min"), call.argument(2, "max"))


def _hardtanh(call: Call) -> None:
    _limit(call, call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0))


def _limit(call: Call, low: float | None, high: float | None) -> None:
    layout = call.layout()
    tensor = call.input(0, layout)
    lowest = call.constant([-math.inf if low is None else low])
    highest = call.constant([math.inf if high is None else high])
    call.result("MINIMUM", call.add("MAXIMUM", tensor, lowest), highest, layout=layout)


def _binary(kind: str) -> Callable[[Call], None]:
    """In the layout of the first value that nothing has to be repeated for."""

    def write(call: Call) -> None:
        given = enumerate(call.operator.arguments[:2])
        values = [call.source(index) for index, item in given if isinstance(item, Argument)]
        whole = (value.name for value in values if value.shape == call.output.shape)
        layouts = (call.sheet.layout(name) for name in whole)
        layout = next(layouts, plain(len(call.output.shape)))
        call.result(kind, call.operand(0, layout), call.operand(1, layout), layout=layout)

    return write


def _sum_of_two(kind: str) -> Callable[[Call], None]:
    def write(call: Call) -> None:
        if call.argument(2, "alpha", 1) != 1:
            call.refuse("with alpha")
        _binary(kind)(call)

    return write


def _softmax(kind: str, **options: Any) -> Callable[[Call], None]:
    """The kernels work along the last dimension; others are moved there."""

    def write(call: Call) -> None:
        axis = call.axis(call.argument(1, "dim")) - 1
        rest = [other for other in range(len(call.output.shape)) if other != axis]
        layout = Layout((*rest, axis))
        call.result(kind, call.input(0, layout), layout=layout, **options)

    return write


def _reduction(kind: str) -> Callable[[Call], None]:
    def write(call: Call) -> None:
        dimensions = call.argument(1, "dim")
        if dimensions is None or dimensions in ((), []):
            call.refuse("over all dimensions")
        given = [dimensions] if isinstance(dimensions, int) else dimensions
        axes = call.sheet.graph.integers([call.axis(dimension) for dimension in given])
        keep = bool(call.argument(2, "keepdim", False))
        call.result(kind, call.input(), axes, keepDims=keep)

    return write


def _layer_norm(call: Call) -> None:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last dimensions."""
    count, shape = len(call.argument(1, "normalized_shape")), (1, *call.output.shape)
    axes = call.sheet.graph.integers(range(len(shape) - count, len(shape)))
    reduced = (*shape[: len(shape) - count], *(1,) * count)
    weight, bias = call.argument(2, "weight"), call.argument(3, "bias")
    source = call.input()
    mean = call.add("MEAN", source, axes, shape=reduced, keepDims=True)
    centered = call.add("SUB", source, mean)
    square = call.add("MUL", centered, centered)
    variance = call.add("MEAN", square, axes, shape=reduced, keepDims=True)
    eps = call.constant([call.argument(4, "eps", 1e-5)])
    unit = call.add("MUL", centered, call.add("RSQRT", call.add("ADD", variance, eps)))
    scaled = call.add("MUL", unit, call.constant([1.0] if weight is None else weight))
    call.result("ADD", scaled, call.constant([0.0] if bias is None else bias))


def _batch_norm(call: Call) -> None:
    """``aten.batch_norm`` with stored statistics, as one factor and one summand a channel."""
    weight, bias, mean, variance, training = call.operator.arguments[1:6]
    if training:
        call.refuse("in training mode")
    factor = 1 / np.sqrt(np.asarray(variance, np.float64) + float(call.argument(7, "eps", 1e-5)))
    factor = factor if weight is None else factor * weight
    summand = (0.0 if bias is None else bias) - mean * factor
    layout, ones = call.layout(), (1,) * (len(call.output.shape) - 1)
    by_channel = [
        call.constant(layout.stored(numbers.reshape(1, -1, *ones))) for numbers in (factor, summand)
    ]
    scaled = call.add("MUL", call.input(0, layout), by_channel[0])
    call.result("ADD", scaled, by_channel[1], layout=layout)


def _matmul(call: Call) -> None:
    if len(call.source(0).shape) != len(call.source(1).shape) or len(call.output.shape) < 2:
        call.refuse("on values that are no batches of matrices of one rank")
    call.result("BATCH_MATMUL", call.input(0), call.input(1))


def _attention(call: Call) -> None:
    """``softmax(q k^T scale + mask) v``, Vaswani et al. 2017, eq. 1."""
    mask, dropout = call.argument(3, "attn_mask"), call.argument(4, "dropout_p", 0.0)
    if dropout or call.argument(5, "is_causal", False) or call.argument(7, "enable_gqa", False):
        call.refuse("with dropout, a causal mask or grouped queries")
    scale = call.argument(6, "scale")
    if scale is None:
        scale = 1 / math.sqrt(call.source().shape[-1])
    query, key, value = (call.input(index) for index in range(3))
    shape = (1, *call.source().shape[:-1], call.source(1).shape[-2])
    scores = call.add("BATCH_MATMUL", query, key, shape=shape, adjY=True)
    scores = call.add("MUL", scores, call.constant([scale]))
    if isinstance(mask, np.ndarray):
        scores = call.add("ADD", scores, call.constant(mask))
    elif mask is not None:
        call.refuse("with a computed mask")
    call.result("BATCH_MATMUL", call.add("SOFTMAX", scores, beta=1.0), value)


def _linear(call: Call) -> None:
    weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
    zeros = np.zeros(len(weight)) if bias is None else bias
    parameters = call.constant(weight), call.constant(zeros)
    call.result("FULLY_CONNECTED", call.input(), *parameters, keepNumDims=True)


def _nearest(call: Call) -> None:
    """Whole factors only: elsewhere the nearest pixel hangs on the runtime's rounding."""
    inside, outside = call.source().shape[1:], call.output.shape[1:]
    if any(o % i for i, o in zip(inside, outside, strict=True)):
        call.refuse(f"from {inside} to {outside}, which is not a whole factor")
    _resize(call, "RESIZE_NEAREST_NEIGHBOR")


def _bilinear(call: Call) -> None:
    align = bool(call.argument(2, "align_corners", False))
    _resize(call, "RESIZE_BILINEAR", alignCorners=align, halfPixelCenters=not align)


def _resize(call: Call, kind: str, **options: bool) -> None:
    layout = channels_last(_IMAGE_RANK)
    size = call.sheet.graph.integers(call.output.shape[1:])
    call.result(kind, call.input(0, layout), size, layout=layout, **options)


def _reshape(call: Call) -> None:
    shape = [-1, *call.output.shape]
    call.result("RESHAPE", call.input(), call.sheet.graph.integers(shape), newShape=shape)


def _permute(call: Call) -> None:
    rank = 1 + len(call.source().shape)
    order = [dimension % rank for dimension in call.argument(1, "dims")]
    if order[0] != 0:
        call.refuse("moves the batch dimension")
    _reordered(call, order)


def _transpose(call: Call) -> None:
    order = list(range(1 + len(call.source().shape)))
    first, second = (call.axis(call.argument(1 + i, f"dim{i}")) for i in range(2))
    order[first], order[second] = second, first
    _reordered(call, order)


def _reordered(call: Call, order: Sequence[int]) -> None:
    """No operator at all: the same tensor in another layout."""
    place = call.sheet.places[call.source().name]
    layout = place.layout.permuted([axis - 1 for axis in order[1:]])
    call.sheet.keep(call.operator.output, place.tensor, layout)


def _concat(call: Call) -> None:
    items = call.operator.arguments[0]
    if not all(isinstance(item, Argument) for item in items):
        call.refuse("with a constant")
    layout = plain(len(call.output.shape))
    names = [call.operator.inputs[item.index] for item in items]
    tensors = [call.sheet.tensor(name, layout) for name in names]
    axis = call.axis(call.argument(1, "dim", 0), 1 + len(call.output.shape))
    call.result("CONCATENATION", *tensors, axis=axis)


WRITERS: dict[str, Callable[[Call], None]] = {
    "clone.default": _same,
    "contiguous.default": _same,
    "detach.default": _same,
    "alias.default": _same,
    "dropout.default": _dropout,
    "relu.default": _unary("RELU"),
    "relu6.default": _unary("RELU6"),
    "sigmoid.default": _unary("LOGISTIC"),
    "tanh.default": _unary("TANH"),
    "exp.default": _unary("EXP"),
    "log.default": _unary("LOG"),
    "sqrt.default": _unary("SQRT"),
    "rsqrt.default": _unary("RSQRT"),
    "neg.default": _unary("NEG"),
    "abs.default": _unary("ABS"),
    "hardswish.default": _unary("HARD_SWISH"),
    "silu.default": _silu,
    "gelu.default": _gelu,
    "leaky_relu.default": _leaky_relu,
    "clamp.default": _clamp,
    "hardtanh.default": _hardtanh,
    "add.Tensor": _sum_of_two("ADD"),
    "add.Scalar": _sum_of_two("ADD"),
    "sub.Tensor": _sum_of_two("SUB"),
    "sub.Scalar": _sum_of_two("SUB"),
    "mul.Tensor": _binary("MUL"),
    "mul.Scalar": _binary("MUL"),
    "div.Tensor": _binary("DIV"),
    "div.Scalar": _binary("DIV"),
    "pow.Tensor_Scalar": _binary("POW"),
    "maximum.default": _binary("MAXIMUM"),
    "minimum.default": _binary("MINIMUM"),
    "softmax.int": _softmax("SOFTMAX", beta=1.0),
    "log_softmax.int": _softmax("LOG_SOFTMAX"),
    "mean.dim": _reduction("MEAN"),
    "sum.dim_IntList": _reduction("SUM"),
    "amax.default": _reduction("REDUCE_MAX"),
    "amin.default": _reduction("REDUCE_MIN"),
    "layer_norm.default": _layer_norm,
    "batch_norm.default": _batch_norm,
    "matmul.default": _matmul,
    "bmm.default": _matmul,
    "scaled_dot_product_attention.default": _attention,
    "linear.default": _linear,
    "upsample_nearest2d.default": _nearest,
    "upsample_nearest2d.vec": _nearest,
    "upsample_bilinear2d.default": _bilinear,
    "upsample_bilinear2d.vec": _bilinear,
    "view.default": _reshape,
    "_unsafe_view.default": _reshape,
    "reshape.default": _reshape,
    "flatten.using_ints": _reshape,
    "unflatten.int": _reshape,
    "squeeze.dim": _reshape,
    "squeeze.dims": _reshape,
    "unsqueeze.default": _reshape,
    "permute.default": _permute,
    "transpose.int": _transpose,
    "cat.default": _concat,
}
"""By ATen name and overload, without the underscore of operators that write over their input."""
