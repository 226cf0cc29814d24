"""Affine activations: integers 0 .. 2^b-1 that stand for scale * (q - zero_point)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_SCALE = 2.0**-40
"""Scales below this are taken for it, so that a constant tensor does not divide by zero."""


@dataclass(frozen=True)
class AffineRange:
    """The encoding of an activation tensor.

    Attributes:
        scale: step between neighbouring integers.
        zero_point: the integer that stands for real zero; zero is always exact.
        bits: integers lie in 0 .. 2^bits-1.
    """

    scale: float
    zero_point: int
    bits: int

    @classmethod
    def covering(cls, low: float, high: float, bits: int) -> AffineRange:
        """The encoding of low .. high, widened to hold zero (Jacob et al. 2018, section 3)."""
        low, high = min(low, 0.0), max(high, 0.0)
        top = 2**bits - 1
        scale = max((high - low) / top, SMALLEST_SCALE)
        # Kept in float32, as every runtime stores it.
        scale = float(torch.tensor(scale, dtype=torch.float32))
        return cls(scale, min(max(round(-low / scale), 0), top), bits)


def fake_quantize(x: Tensor, encoding: AffineRange) -> Tensor:
    """The real values that the integers nearest to ``x`` stand for; any shape."""
    top = 2**encoding.bits - 1
    return torch.fake_quantize_per_tensor_affine(x, encoding.scale, encoding.zero_point, 0, top)
