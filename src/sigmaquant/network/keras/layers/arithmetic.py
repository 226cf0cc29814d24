"""Dense layers, norms, merges of several tensors, and arithmetic of ``keras.ops``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sigmaquant.network.keras.call import ADVICE, Array, LayerCall, Writer
from sigmaquant.network.keras.layers.activations import activated


def _dense(call: LayerCall) -> str:
    kernel = call.constant("kernel", call.weight("kernel"))
    values = call.variable("bias")
    bias = () if values is None else (call.constant("bias", values),)
    if call.rank == 2:
        made = call.add("Gemm", call.only_input(), kernel, *bias, main=True)
    else:
        made = call.add("MatMul", call.only_input(), kernel, main=True)
        made = call.add("Add", made, *bias) if bias else made
    return activated(call, made, call.layer.activation)


def _batch_norm(call: LayerCall) -> str:
    layer, rank = call.layer, call.rank
    axes = layer.axis if isinstance(layer.axis, Sequence) else (layer.axis,)
    axis = axes[0] % rank
    if len(axes) != 1 or axis not in (1, rank - 1) or rank > 5:
        call.unsupported(f"it normalises over axis {layer.axis}; the channels are taken")
    mean, variance = call.weight("moving_mean"), call.weight("moving_variance")
    gamma, beta = call.variable("gamma"), call.variable("beta")
    parts = {
        "gamma": np.ones_like(mean) if gamma is None else gamma,
        "beta": np.zeros_like(mean) if beta is None else beta,
        "mean": mean,
        "variance": variance,
    }
    constants = [call.constant(name, array) for name, array in parts.items()]
    turned = axis == rank - 1
    value = call.channels_first(call.only_input()) if turned else call.only_input()
    made = call.add(
        "BatchNormalization", value, *constants, main=True, epsilon=float(layer.epsilon)
    )
    return call.back(made) if turned else made


def _layer_norm(call: LayerCall) -> str:
    layer = call.layer
    if getattr(layer, "rms_scaling", False):
        call.unsupported(f"it does not centre (rms_scaling); {ADVICE}")
    axes = layer.axis if isinstance(layer.axis, Sequence) else (layer.axis,)
    if [axis % call.rank for axis in axes] != [call.rank - 1]:
        call.unsupported(f"it normalises over {layer.axis}; the last dimension is taken; {ADVICE}")
    gamma, beta = call.variable("gamma"), call.variable("beta")
    scale = np.ones(call.shapes[0][-1] or 1) if gamma is None else gamma
    shift = () if beta is None else (call.constant("beta", beta),)
    return call.add(
        "LayerNormalization",
        call.only_input(),
        call.constant("gamma", scale),
        *shift,
        main=True,
        epsilon=float(layer.epsilon),
    )


def _rescaling(call: LayerCall) -> str:
    layer = call.layer
    scale, offset = np.asarray(layer.scale, np.float32), np.asarray(layer.offset, np.float32)
    made = call.add("Mul", call.only_input(), call.constant("scale", scale))
    return call.add("Add", made, call.constant("offset", offset)) if offset.any() else made


def _normalization(call: LayerCall) -> str:
    """``(x - mean) / std``; the standard deviation is at least Keras's epsilon of 1e-7."""
    layer = call.layer
    if layer.invert:
        call.unsupported("it is inverted; apply it outside of the network")
    mean = call.weight("mean")
    spread = np.maximum(np.sqrt(call.weight("variance")), 1e-7)
    centred = call.add("Sub", call.only_input(), call.constant("mean", mean))
    return call.add("Mul", centred, call.constant("scale", 1 / spread))


def _operands(call: LayerCall) -> list[str]:
    """What an operation reads; its constants become values."""
    values = iter(call.inputs)
    return [
        next(values) if _is_value(each) else call.constant("number", _number(call, each))
        for each in call.arguments
    ]


def _merge_inputs(call: LayerCall) -> list[str]:
    """What a merge reads, all of one rank: Keras puts the missing dimensions behind the batch."""
    rank = max(map(len, call.shapes))
    return [
        _expanded(call, value, rank - len(shape))
        for value, shape in zip(call.inputs, call.shapes, strict=True)
    ]


def _expanded(call: LayerCall, value: str, missing: int) -> str:
    if not missing:
        return value
    return call.add("Unsqueeze", value, call.constant("axes", tuple(range(1, 1 + missing))))


def _is_value(argument: object) -> bool:
    return isinstance(argument, str) or type(argument).__name__ == "KerasTensor"


def _number(call: LayerCall, argument: object) -> Array:
    array = np.asarray(argument)
    if array.dtype.kind not in "fiu":
        call.unsupported(f"it reads a {type(argument).__name__}; {ADVICE}")
    return array.astype(np.float32)


def _operation(operator: str) -> Writer:
    """A binary operation of ``keras.ops``, which broadcasts as NumPy does."""
    return lambda call: _folded(call, operator, _operands(call))


def _merge(operator: str) -> Writer:
    """A merge layer: a binary operator over all inputs."""
    return lambda call: _folded(call, operator, _merge_inputs(call))


def _folded(call: LayerCall, operator: str, values: Sequence[str]) -> str:
    """A binary operator over all values, from the first on."""
    first, *others = values
    for other in others:
        first = call.add(operator, first, other, main=other is others[-1])
    return first


def _average(call: LayerCall) -> str:
    total = _folded(call, "Add", _merge_inputs(call))
    return call.add("Mul", total, call.constant("share", 1 / len(call.inputs)))


def _concatenate(call: LayerCall) -> str:
    return call.add("Concat", *call.inputs, main=True, axis=int(call.layer.axis))


def _concatenate_operation(call: LayerCall) -> str:
    if len(call.arguments[0]) != len(call.inputs):
        call.unsupported(f"it joins constants; {ADVICE}")
    return _concatenate(call)


def _identity(call: LayerCall) -> str:
    return call.only_input()


_NOTHING_AT_INFERENCE = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)

LAYERS: dict[str, Writer] = {
    "Add": _merge("Add"),
    "Average": _average,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Dense": _dense,
    "LayerNormalization": _layer_norm,
    "Maximum": _merge("Max"),
    "Minimum": _merge("Min"),
    "Multiply": _merge("Mul"),
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Subtract": _merge("Sub"),
    **dict.fromkeys(_NOTHING_AT_INFERENCE, _identity),
}
"""By class."""

OPERATIONS: dict[str, Writer] = {
    "Add": _operation("Add"),
    "Concatenate": _concatenate_operation,
    "Divide": _operation("Div"),
    "Maximum": _operation("Max"),
    "Minimum": _operation("Min"),
    "Multiply": _operation("Mul"),
    "Subtract": _operation("Sub"),
    "TrueDivide": _operation("Div"),
}
"""By class, of ``keras.ops``."""
