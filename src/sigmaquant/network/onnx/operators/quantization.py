"""QuantizeLinear and DequantizeLinear, of files that are to be dequantized.

What a pair does to a value is kept where it is more than rounding: it limits the value to the range
of its integers, which often stands for a ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Step
from sigmaquant.network.onnx.operators.activations import Clip


def _quantize(call: Call) -> Step:
    scale = call.constant(1, "scale")
    zero = call.constant(2, "zero point") if call.has(2) else torch.zeros((), dtype=torch.uint8)
    if scale.numel() != 1 or zero.numel() != 1:
        call.unsupported("it has a scale for each channel; give the float network")
    limits = torch.iinfo(zero.dtype)
    step, origin = float(scale), int(zero)
    return Step(Clip((limits.min - origin) * step, (limits.max - origin) * step))


def _dequantize(call: Call) -> Step:
    if not call.value().known:
        return Step(nn.Identity())
    if call.integer("block_size", 0):
        call.unsupported("it has a scale for each block; give the float network")
    scale = call.constant(1, "scale")
    zero = call.optional(2, "zero point")
    if scale.numel() == 1:
        return Step(Dequantize(scale.reshape(()), None if zero is None else zero.reshape(())))
    axis = call.axis(call.integer("axis", 1))
    if scale.dim() != 1 or len(scale) != call.shape()[axis]:
        call.damaged(f"its scale of {tuple(scale.shape)} does not fit dimension {axis}")
    shape = [-1 if dim == axis else 1 for dim in range(call.rank())]
    return Step(Dequantize(scale.reshape(shape), None if zero is None else zero.reshape(shape)))


class Dequantize(nn.Module):
    """The numbers that integers stand for.

    Args:
        scale: broadcasts with them.
        zero: the integer that stands for 0, likewise; None is 0.
    """

    scale: Tensor
    zero: Tensor | None

    def __init__(self, scale: Tensor, zero: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)

    def forward(self, integers: Tensor) -> Tensor:
        """Any shape, kept."""
        steps = integers.to(self.scale.dtype)
        return (steps if self.zero is None else steps - self.zero.to(steps.dtype)) * self.scale


BUILDERS: dict[str, Builder] = {"DequantizeLinear": _dequantize, "QuantizeLinear": _quantize}
"""By ONNX operator."""
