"""A layer's integers and scales, fitted to each other and to the inputs it will really see."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmaquant.layers import WIDTHS
from sigmaquant.quantizers.descent import descended_levels
from sigmaquant.quantizers.rounding import MomentFactor, compensated_levels, damped_moments
from sigmaquant.quantizers.scales import weight_scales

# DS-CNN and ResNet-8 at 2 to 4 bits, geometric mean of the KL on other samples: 6 + 0 turns .0556,
# 2 + 4 .0518, 6 + 4 .0507, 4 + 8 .0500; differences below 3 % are noise.
_COMPENSATED_TURNS = 4
_DESCENT_TURNS = 4
ROUNDING_TURNS = _COMPENSATED_TURNS + _DESCENT_TURNS
"""Passes over a layer's columns that fit its integers; the most of the work."""
# Of the mean diagonal. ResNet-20 at 2 bits: 0.01, 0.05, 0.2 and 1 gave 88.9, 89.2, 88.8 and 87.9 %.
_RIDGE = 0.05
_UNCLIPPED_WIDTHS = WIDTHS[1:-1]


def fitted_levels(
    rows: Tensor,
    bounds: tuple[Tensor | int, Tensor | int],
    scales: Tensor,
    moments: Tensor,
    least: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Integers and scales in turn, each the best for the other.

    For given scales the integers are error-compensated in the first turns, then improved by
    coordinate descent from the best that was found. For given integers q the scale of row w that
    moves the layer's output least is w H q / (q H q), with H the second moments of its inputs,
    damped as they are for the integers: scales fitted to the bare moments do worse on other inputs.
    Moments are about the mean where a bias takes up the mean error. The pair with the least output
    error of all turns is kept, row by row.

    Args:
        rows: (groups, out, k) weights; rows of several widths can be stacked along ``out``.
        bounds: smallest and largest integer; tensors broadcast over (groups, out, 1).
        scales: (groups, out, 1), where to start.
        moments: (groups, k, k).
        least: scales are kept at least this large; broadcasts over (groups, out, 1).

    Returns:
        Levels (groups, out, k), held in float32, and scales (groups, out, 1).
    """
    factor, damped = MomentFactor.of(moments), damped_moments(moments)
    low, high = bounds
    least = torch.as_tensor(least)
    scales = scales.maximum(least)
    best_levels, best_scales = torch.empty_like(rows), torch.empty_like(scales)
    best_error = torch.full_like(scales, torch.inf)
    for turn in range(ROUNDING_TURNS):
        if turn < _COMPENSATED_TURNS:
            levels = compensated_levels(rows, scales, low, high, factor)
        else:
            levels = descended_levels(rows, best_levels, best_scales, bounds, damped)
        scales, error = _best_scales(rows, levels, scales, damped, least)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scales = torch.where(better, scales, best_scales)
        best_levels = torch.where(better, levels, best_levels)
    return best_levels, best_scales


def _best_scales(
    rows: Tensor, levels: Tensor, scales: Tensor, moments: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """The scales that suit the integers best, and the output errors: (groups, out, 1) each."""
    projected = levels @ moments
    along = (projected * rows).sum(-1, keepdim=True)
    length = (projected * levels).sum(-1, keepdim=True)
    fitted = torch.where((along > 0) & (length > 0), along / length, scales).maximum(least)
    # (s q - w) H (s q - w), without w H w, which is the same for all integers.
    return fitted, fitted * (fitted * length - 2 * along)


def starting_scales(rows: Tensor, bits: int, moments: Tensor, *, unclipped: bool = False) -> Tensor:
    """Minimum-error scales (groups, out, 1), each column weighted with its second moment.

    Args:
        rows: (groups, out, k) weights.
        bits: 2 .. 8.
        moments: (groups, k, k) of the inputs.
        unclipped: the step of the next narrower width, so that hardly a weight is clipped: best
            where weights are stored in a code, in which rare levels cost hardly anything. For the
            same number of bits in code the error is about a fifth smaller (uniform steps with
            entropy coding, Gish & Pierce 1968). The narrowest and the widest width stay.
    """
    if unclipped and bits in _UNCLIPPED_WIDTHS:
        bits -= 1
    return weight_scales(rows, bits, moments.diagonal(dim1=-2, dim2=-1))


def realigned_rows(rows: Tensor, cross: Tensor, moments: Tensor) -> Tensor:
    """Weights that give the float network's outputs on the quantized network's inputs.

    By the time a layer is rounded its inputs x' are no longer the float inputs x. The rows
    w' = w E[x x'^T] (E[x' x'^T] + r I)^-1 make up for what is linear in that difference (ridge
    regression; the idea of asymmetric calibration, Li et al. 2025, "GPTAQ").

    Args:
        rows: (groups, out, k).
        cross: (groups, k, k): sum of x x'^T, about the means.
        moments: (groups, k, k): sum of x' x'^T, likewise.
    """
    damped = moments.double().clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal += _RIDGE * diagonal.mean(-1, keepdim=True).clamp_min(1e-30)
    # (C - H)(H + r)^-1 rather than C (H + r)^-1: where nothing differs, nothing moves.
    shift: Tensor = torch.linalg.solve(damped, (cross - moments).double().mT).mT
    return rows + rows @ shift.float()
