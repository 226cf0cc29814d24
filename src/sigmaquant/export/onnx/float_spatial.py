"""Float operators over windows and pixels: convolutions, pools, resizing; and the linear layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sigmaquant.export.onnx.float_call import Call
from sigmaquant.lowering.aten import run_float_operator


def _linear(call: Call) -> None:
    weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
    transposed = np.asarray(weight, np.float32).T
    if bias is None:
        call.result("MatMul", call.input(), call.tensor(transposed))
        return
    product = call.graph.add(
        "MatMul", [call.input(), call.tensor(transposed)], name=call.operator.name
    )
    call.result("Add", product, call.tensor(bias))


def _convolution(call: Call) -> None:
    rank = len(call.source().shape) - 1
    call.result(
        "Conv",
        *_layer_inputs(call),
        strides=_spread(call.argument(3, "stride", 1), rank),
        pads=_spread(call.argument(4, "padding", 0), rank) * 2,
        dilations=_spread(call.argument(5, "dilation", 1), rank),
        group=call.argument(6, "groups", 1),
    )


def _transposed_convolution(call: Call) -> None:
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


def _layer_inputs(call: Call) -> list[str]:
    bias = call.argument(2, "bias")
    return [call.input(), call.input(1)] + ([] if bias is None else [call.tensor(bias)])


def _adaptive_average(call: Call) -> None:
    """Windows of one size, which is the case where the input is a multiple of the output."""
    inside, outside = call.source().shape[1:], call.output.shape[1:]
    if any(i % o for i, o in zip(inside, outside, strict=True)):
        call.refuse(f"from {inside} to {outside}, which needs windows of several sizes")
    if set(outside) == {1}:
        call.result("GlobalAveragePool", call.input())
        return
    window = [i // o for i, o in zip(inside, outside, strict=True)]
    call.result("AveragePool", call.input(), kernel_shape=window, strides=window)


def _average_pool(call: Call) -> None:
    if call.argument(6, "divisor_override") is not None:
        call.refuse("with its own divisor")
    pool = _pool_attributes(call, ceil_mode=call.argument(4, "ceil_mode", False))
    include = int(call.argument(5, "count_include_pad", True))
    call.result("AveragePool", call.input(), count_include_pad=include, **pool)


def _max_pool(call: Call) -> None:
    pool = _pool_attributes(call, ceil_mode=call.argument(5, "ceil_mode", False))
    dilations = _spread(call.argument(4, "dilation", 1), len(pool["kernel_shape"]))
    call.result("MaxPool", call.input(), dilations=dilations, **pool)


def _pool_attributes(call: Call, ceil_mode: bool) -> dict[str, list[int]]:
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


def _upsample_nearest(call: Call) -> None:
    """Whole factors as ``Resize``; elsewhere the nearest pixel hangs on the runtime's rounding."""
    inside, outside = call.source().shape[1:], call.output.shape[1:]
    if all(o % i == 0 for i, o in zip(inside, outside, strict=True)):
        _resize(call, mode="nearest", coordinates="asymmetric", nearest_mode="floor")
        return
    *first, last = range(len(inside))
    picked = call.input()
    for dim in first:
        picked = call.add("Gather", picked, _nearest_places(call, dim), axis=2 + dim)
    call.result("Gather", picked, _nearest_places(call, last), axis=2 + last)


def _nearest_places(call: Call, dim: int) -> str:
    """The pixel that each one of the result copies along a dimension: PyTorch's own choice."""
    inside = call.source().shape[1:]
    line = np.arange(inside[dim], dtype=np.float32).reshape(-1, *[1] * (len(inside) - 1 - dim))
    places = run_float_operator(call.operator, [np.broadcast_to(line, (1, 1, *inside))])
    along = np.moveaxis(places[0, 0], dim, 0).reshape(call.output.shape[1 + dim], -1)[:, 0]
    return call.graph.integers(*along.astype(int).tolist())


def _upsample(mode: str, **attributes: Any) -> Callable[[Call], None]:
    def write(call: Call) -> None:
        align_corners = call.argument(2, "align_corners", False)
        coordinates = "align_corners" if align_corners else "pytorch_half_pixel"
        _resize(call, mode=mode, coordinates=coordinates, **attributes)

    return write


_PYTORCH_SHARPNESS = -0.75
"""The a of Keys 1981, eq. 4, in PyTorch's cubic interpolation."""
_upsample_linear = _upsample("linear")
_upsample_cubic = _upsample("cubic", cubic_coeff_a=_PYTORCH_SHARPNESS)


def _resize(call: Call, mode: str, coordinates: str, **attributes: Any) -> None:
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


WRITERS: dict[str, Callable[[Call], None]] = {
    "adaptive_avg_pool1d.default": _adaptive_average,
    "adaptive_avg_pool2d.default": _adaptive_average,
    "adaptive_avg_pool3d.default": _adaptive_average,
    "avg_pool1d.default": _average_pool,
    "avg_pool2d.default": _average_pool,
    "avg_pool3d.default": _average_pool,
    "max_pool1d.default": _max_pool,
    "max_pool2d.default": _max_pool,
    "max_pool3d.default": _max_pool,
    "upsample_nearest1d.vec": _upsample_nearest,
    "upsample_nearest2d.default": _upsample_nearest,
    "upsample_nearest2d.vec": _upsample_nearest,
    "upsample_nearest3d.vec": _upsample_nearest,
    "upsample_linear1d.vec": _upsample_linear,
    "upsample_bilinear2d.default": _upsample_linear,
    "upsample_bilinear2d.vec": _upsample_linear,
    "upsample_trilinear3d.vec": _upsample_linear,
    "upsample_bicubic2d.vec": _upsample_cubic,
    "linear.default": _linear,
    "conv1d.default": _convolution,
    "conv2d.default": _convolution,
    "conv3d.default": _convolution,
    "conv_transpose1d.default": _transposed_convolution,
    "conv_transpose2d.input": _transposed_convolution,
    "conv_transpose3d.input": _transposed_convolution,
}
