"""BatchNormalization and LayerNormalization."""

from __future__ import annotations

from typing import Any

from torch import nn

from sigmaquant.network.onnx.call import Builder, Call, Step

_BATCH_NORMS: dict[int, Any] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def _batch_norm(call: Call) -> Step:
    call.only_output()
    if call.integer("training_mode", 0):
        call.unsupported("it is in training mode; export the model in evaluation mode")
    kind = _BATCH_NORMS.get(call.rank())
    if kind is None:
        call.unsupported(f"its input has {call.rank()} dimensions; 2 to 5 are taken")
    channels = call.shape()[1]
    norm = kind(channels, eps=call.number("epsilon", 1e-5), device="meta")
    norm.weight, norm.bias = call.parameter(1, "scale"), call.parameter(2, "bias")
    norm.running_mean, norm.running_var = call.constant(3, "mean"), call.constant(4, "variance")
    norm.num_batches_tracked = None
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        if tuple(tensor.shape) != (channels,):
            call.damaged(f"it has {channels} channels and a tensor of {tuple(tensor.shape)}")
    return Step(norm.eval())


def _layer_norm(call: Call) -> Step:
    call.only_output()
    axis = call.axis(call.integer("axis", -1))
    shape = tuple(call.fixed(dim) for dim in range(axis, call.rank()))
    scale = call.parameter(1, "scale")
    bias = call.parameter(2, "bias") if call.has(2) else None
    for tensor in (scale, bias):
        if tensor is not None and tuple(tensor.shape) != shape:
            call.unsupported(f"it normalises {shape} and has a tensor of {tuple(tensor.shape)}")
    return Step(layer_norm(shape, call.number("epsilon", 1e-5), scale, bias))


def layer_norm(
    shape: tuple[int, ...], epsilon: float, scale: nn.Parameter | None, bias: nn.Parameter | None
) -> nn.LayerNorm:
    """A layer norm with these parameters; None is none."""
    norm = nn.LayerNorm(shape, epsilon, elementwise_affine=False)
    norm.elementwise_affine = scale is not None
    norm.register_parameter("weight", scale)
    norm.register_parameter("bias", bias)
    return norm


BUILDERS: dict[str, Builder] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
}
"""By ONNX operator."""
