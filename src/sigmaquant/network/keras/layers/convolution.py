"""Convolutions: plain, depthwise, separable and transposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sigmaquant.network.keras.call import ADVICE, Array, LayerCall, Writer
from sigmaquant.network.keras.layers.activations import activated
from sigmaquant.network.onnx.records import Attribute


def _convolution(call: LayerCall) -> str:
    value = call.channels_first(call.only_input())
    weight = call.constant("kernel", _outputs_first(call.weight("kernel")))
    attributes = _windows(call, call.layer.strides) | {"group": int(call.layer.groups)}
    made = call.add("Conv", value, weight, *_bias(call), main=True, **attributes)
    return activated(call, call.back(made), call.layer.activation)


def _depthwise(call: LayerCall) -> str:
    value = call.channels_first(call.only_input())
    made = _each_channel(call, value, "kernel", *_bias(call))
    return activated(call, call.back(made), call.layer.activation)


def _separable(call: LayerCall) -> str:
    """A depthwise convolution without bias, then a 1 x 1 one."""
    value = call.channels_first(call.only_input())
    depthwise = _each_channel(_part(call, "depthwise"), value, "depthwise_kernel")
    weight = call.constant("pointwise_kernel", _outputs_first(call.weight("pointwise_kernel")))
    point = _part(call, "pointwise").add("Conv", depthwise, weight, *_bias(call), main=True)
    return activated(call, call.back(point), call.layer.activation)


def _part(call: LayerCall, name: str) -> LayerCall:
    """The same layer, under a name for one of the two that it consists of."""
    return replace(call, path=f"{call.path}.{name}")


def _each_channel(call: LayerCall, value: str, kernel: str, *bias: str) -> str:
    """Keras's (..., channels, multiplier) to ONNX's (channels * multiplier, 1, ...)."""
    array = call.weight(kernel)
    channels = array.shape[-2]
    joined = array.reshape(*array.shape[:-2], 1, -1)
    weight = call.constant(kernel, _outputs_first(joined))
    attributes = _windows(call, call.layer.strides) | {"group": channels}
    return call.add("Conv", value, weight, *bias, main=True, **attributes)


def _transposed(call: LayerCall) -> str:
    layer = call.layer
    if layer.output_padding is not None:
        call.unsupported(f"its output_padding is not taken; leave it out or {ADVICE}")
    value = call.channels_first(call.only_input())
    # Keras has (..., out, in), ONNX (in, out, ...).
    weight = call.constant("kernel", _outputs_first(call.weight("kernel")))
    spread = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    sides, extra = _cropped(layer.padding, spread, layer.strides)
    made = call.add(
        "ConvTranspose",
        value,
        weight,
        *_bias(call),
        main=True,
        strides=tuple(layer.strides),
        dilations=tuple(layer.dilation_rate),
        pads=sides,
        output_padding=extra,
    )
    return activated(call, call.back(made), layer.activation)


def _cropped(
    padding: str, spread: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is cut off at all begins and all ends, and zeros added at the ends.

    The result is as long as input times stride where the padding is "same", longer by what the
    window reaches beyond its stride where it is "valid".
    """
    over = [max(reach - step, 0) for reach, step in zip(spread, strides, strict=True)]
    cut = over if padding == "same" else [0] * len(over)
    extra = tuple(max(step - reach, 0) for reach, step in zip(spread, strides, strict=True))
    return (*(each // 2 for each in cut), *(each - each // 2 for each in cut)), extra


def _outputs_first(kernel: Array) -> Array:
    """(..., in, out) to (out, in, ...)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _bias(call: LayerCall) -> tuple[str, ...]:
    bias = call.variable("bias")
    return () if bias is None else (call.constant("bias", bias),)


def _windows(call: LayerCall, strides: Sequence[int]) -> dict[str, Attribute]:
    layer = call.layer
    attributes: dict[str, Attribute] = {
        "strides": tuple(strides),
        "dilations": tuple(layer.dilation_rate),
    }
    if layer.padding == "causal":
        return attributes | {"pads": ((layer.kernel_size[0] - 1) * layer.dilation_rate[0], 0)}
    return attributes | {"auto_pad": "SAME_UPPER" if layer.padding == "same" else "VALID"}


LAYERS: dict[str, Writer] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose"), _transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
}
"""By class."""
