"""Activation functions, in layers of their own and at the end of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from sigmaquant.network.keras.call import ADVICE, LayerCall, Writer
from sigmaquant.network.onnx.records import Attribute

Function: TypeAlias = Callable[[LayerCall, str], str]


def activated(call: LayerCall, value: str, function: Any) -> str:
    """The value behind an activation function of Keras, or a layer used as one."""
    if function is None or function_name(function) == "linear":
        return value
    kind = type(function)
    if kind.__module__.startswith("keras.src.layers.") and kind.__name__ in LAYERS:
        return LAYERS[kind.__name__](replace(call, layer=function, inputs=(value,)))
    written = _FUNCTIONS.get(function_name(function))
    if written is None:
        name = getattr(function, "__name__", kind.__name__)
        call.unsupported(f"its activation {name!r} is not known; {ADVICE}")
    return written(call, value)


def function_name(function: Any) -> str:
    """The name of a function of ``keras.activations``; "" for all others, however called.

    ``keras.ops`` has functions of the same names with other defaults (gelu).
    """
    module = getattr(function, "__module__", None) or ""
    return str(function.__name__) if module.startswith("keras.src.activations.") else ""


def _plain(operator: str, **attributes: Attribute) -> Function:
    return lambda call, value: call.add(operator, value, main=False, **attributes)


def _relu6(call: LayerCall, value: str) -> str:
    return call.add("Clip", value, call.constant("low", 0.0), call.constant("high", 6.0))


def _silu(call: LayerCall, value: str) -> str:
    return call.add("Mul", value, call.add("Sigmoid", value))


_FUNCTIONS: dict[str, Function] = {
    "elu": _plain("Elu"),
    "gelu": _plain("Gelu", approximate="none"),
    "hard_sigmoid": _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _plain("HardSwish"),
    "leaky_relu": _plain("LeakyRelu", alpha=0.2),
    "log_softmax": _plain("LogSoftmax", axis=-1),
    "mish": _plain("Mish"),
    "relu": _plain("Relu"),
    "relu6": _relu6,
    "sigmoid": _plain("Sigmoid"),
    "silu": _silu,
    "softmax": _plain("Softmax", axis=-1),
    "softplus": _plain("Softplus"),
    "tanh": _plain("Tanh"),
}
"""By the name of the function in ``keras.activations``."""


def _activation(call: LayerCall) -> str:
    return activated(call, call.only_input(), call.layer.activation)


def _relu(call: LayerCall) -> str:
    layer, value = call.layer, call.only_input()
    slope, limit = float(layer.negative_slope), layer.max_value
    if layer.threshold or (slope and limit is not None):
        call.unsupported(f"its threshold or the slope below a limit is not taken; {ADVICE}")
    if slope:
        return call.add("LeakyRelu", value, alpha=slope)
    if limit is None:
        return call.add("Relu", value)
    return call.add("Clip", value, call.constant("low", 0.0), call.constant("high", float(limit)))


def _relu6_operation(call: LayerCall) -> str:
    return _relu6(call, call.only_input())


def _leaky_relu(call: LayerCall) -> str:
    return call.add("LeakyRelu", call.only_input(), alpha=float(call.layer.negative_slope))


def _prelu(call: LayerCall) -> str:
    slope = call.weight("alpha")
    value = call.channels_first(call.only_input())
    turned = np.moveaxis(slope, -1, 0) if call.rank > 2 else slope
    return call.back(call.add("PRelu", value, call.constant("alpha", turned)))


def _elu(call: LayerCall) -> str:
    return call.add("Elu", call.only_input(), alpha=float(call.layer.alpha))


def _softmax(call: LayerCall) -> str:
    axis = call.layer.axis
    if not isinstance(axis, int):
        call.unsupported("its axis is a list; give one axis")
    return call.add("Softmax", call.only_input(), axis=axis)


LAYERS: dict[str, Writer] = {
    "Activation": _activation,
    "ELU": _elu,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Softmax": _softmax,
}
"""By class."""

OPERATIONS: dict[str, Writer] = {"Relu6": _relu6_operation, "Softmax": _softmax}
"""By class, of ``keras.ops``."""
