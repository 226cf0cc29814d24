"""Weight scales: minimum weighted squared error, one scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmaquant.quantizers.affine import SMALLEST_SCALE

# Half of what an int32 accumulator holds; the rest is for products and the correction. And a 16th
# of that: LiteRT's fast kernels for 4 bits accumulate 16 times the products, and overflow.
_LARGEST_BIAS = 2.0**26
_RESTRICTED_BITS = 8
_SHRINKS = 60
_SMALLEST_SHRINK = 0.3


def level_bounds(bits: int) -> tuple[int, int]:
    """Lowest and highest integer of a signed weight.

    8 bits leave out -128, as TensorFlow Lite's quantization specification does: kernels for ARM add
    two products in int16, which -128 * -128 twice would overflow. Fewer bits use every level.

    >>> level_bounds(8), level_bounds(2)
    ((-127, 127), (-2, 1))
    """
    highest = 2 ** (bits - 1) - 1
    return (-highest if bits == _RESTRICTED_BITS else -highest - 1), highest


def weight_scales(rows: Tensor, bits: int, importance: Tensor | None = None) -> Tensor:
    """The scale of each row that minimises sum_k importance_k (w_k - s q_k)^2 over a grid.

    The grid shrinks the scale that covers the row's largest magnitude. With few bits the lowest
    level reaches one step further than the highest, so both signs of the row are covered.

    Args:
        rows: (..., out, k) weights.
        bits: 2 .. 8.
        importance: (..., k), not negative, such as the mean square of each input; None: all one.

    Returns:
        (..., out, 1) float32, positive.
    """
    low, high = level_bounds(bits)
    weight = torch.ones_like(rows[..., :1, :]) if importance is None else importance[..., None, :]
    largest = torch.maximum(
        rows.amax(-1, keepdim=True) / high, rows.amin(-1, keepdim=True) / low
    ).clamp_min(SMALLEST_SCALE)
    best_scale = largest.clone()
    best_error = torch.full_like(largest, torch.inf)
    for step in range(_SHRINKS):
        shrink = 1.0 - (1.0 - _SMALLEST_SHRINK) * step / (_SHRINKS - 1)
        scale = largest * shrink
        q = torch.clamp(torch.round(rows / scale), low, high)
        error = ((q * scale - rows) ** 2 * weight).sum(-1, keepdim=True)
        better = error < best_error
        best_scale = torch.where(better, scale, best_scale)
        best_error = torch.where(better, error, best_error)
    return best_scale


def least_scales(bias: Tensor, input_scale: Tensor | float) -> Tensor:
    """(out,): weight scales at which the bias (out,) still fits an int32 accumulator.

    Channels that training has switched off have weights near zero beside an ordinary bias.
    """
    return bias.abs() / (input_scale * _LARGEST_BIAS)
