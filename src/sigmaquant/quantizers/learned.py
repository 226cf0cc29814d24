"""Learned step sizes: fake quantization that trains its own scale.

LSQ (Esser et al. 2020): with v = x / s, the output is s * round(clamp(v, low, high)). The gradient
of the scale (eq. 3) is round(v) - v inside the bounds and the bound itself outside; that of x
(eq. 5) passes inside the bounds. The scale's gradient is multiplied by 1 / sqrt(N high) with N
the values that share the scale (section 2.2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigmaquant.quantizers.affine import SMALLEST_SCALE, AffineRange
from sigmaquant.quantizers.scales import level_bounds


class _LearnedStep(torch.autograd.Function):
    """Levels low .. high of ``x``, with one scale for everything or one a leading row.

    Activations are large and this is most of what training does to them, so they are gone through
    as seldom as can be, and besides the result only v is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int, weight: float) -> Tensor:
        v = x / scale
        quantized = v.clamp(low, high).round_().mul_(scale)
        ctx.save_for_backward(v, quantized, scale)
        ctx.bounds, ctx.weight = (low, high), weight
        return quantized

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (gradient,) = gradients
        v, quantized, scale = ctx.saved_tensors
        to_x = _inside(gradient, v, *ctx.bounds)
        of_levels = _row_products(gradient, quantized, scale) / scale
        to_scale = of_levels - _row_products(to_x, v, scale)
        return to_x, to_scale * ctx.weight, None, None, None


def _inside(gradient: Tensor, v: Tensor, low: int, high: int) -> Tensor:
    """The gradient where low <= v <= high, else 0, in one pass: hardtanh's bounds are open."""
    below = float(np.nextafter(np.float32(low), np.float32(-np.inf)))
    above = float(np.nextafter(np.float32(high), np.float32(np.inf)))
    passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, v, below, above)
    return passed


def _row_products(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """The sum of products of the values that share a scale, in the scale's shape."""
    if scale.numel() == 1:
        return torch.dot(a.reshape(-1), b.reshape(-1)).reshape(scale.shape)
    return (a * b).flatten(1).sum(1).reshape(scale.shape)


class WeightQuantizer(nn.Module):
    """Symmetric fake quantization of a weight, one learned scale an output channel.

    Args:
        scales: (out, 1, ...), broadcasting over the weight.
        bits: 2 .. 8.
    """

    def __init__(self, scales: Tensor, bits: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(scales.detach().clone())
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """The weight (out, ...) on its grid."""
        low, high = level_bounds(self.bits)
        gradient_weight = 1.0 / math.sqrt(weight[0].numel() * high)
        return _LearnedStep.apply(weight, self.safe_scale(), low, high, gradient_weight)  # type: ignore[no-any-return,no-untyped-call]

    def levels(self, weight: Tensor) -> Tensor:
        """The weight's integers, as int8."""
        low, high = level_bounds(self.bits)
        return torch.clamp(torch.round(weight / self.safe_scale()), low, high).to(torch.int8)

    def safe_scale(self) -> Tensor:
        """The scale, kept positive while it is trained."""
        return self.scale.clamp_min(SMALLEST_SCALE)


class ActivationQuantizer(nn.Module):
    """Affine fake quantization of an activation, one learned scale, fixed zero point.

    Args:
        encoding: where training starts.
    """

    def __init__(self, encoding: AffineRange) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(encoding.scale))
        self.zero_point: Tensor
        self.register_buffer("zero_point", torch.tensor(encoding.zero_point))
        self.bits = encoding.bits

    def forward(self, x: Tensor) -> Tensor:
        """The activation (batch, ...) on its grid."""
        low = -int(self.zero_point)
        high = low + 2**self.bits - 1
        gradient_weight = 1.0 / math.sqrt(x[0].numel() * (2**self.bits - 1))
        # In bfloat16, as a mixed-precision training may give it, x is no finer than the grid.
        return _LearnedStep.apply(x.float(), self.safe_scale(), low, high, gradient_weight)  # type: ignore[no-any-return,no-untyped-call]

    def encoding(self) -> AffineRange:
        """The encoding as it stands."""
        return AffineRange(self.safe_scale().item(), int(self.zero_point), self.bits)

    def safe_scale(self) -> Tensor:
        """The scale, kept positive while it is trained."""
        return self.scale.clamp_min(SMALLEST_SCALE)
