"""Rounding weights to integers: nearest, and error-compensated.

The error-compensated method is GPTQ's closed form (Frantar et al. 2023, algorithm 1): columns are
rounded one after the other, and each rounding error is spread over the columns still to come so
that the layer's output over the calibration inputs moves least. With the second moments
H = X^T X of the layer's inputs and the upper Cholesky factor U of H^-1, column j's error
e = (w_j - q_j) / U_jj is subtracted from the later columns as e * U_j,later. Weights are in steps
of their row's scale here, and each row of U is divided by its diagonal: the same, in less work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 128  # columns updated together; later columns are touched once a block
DAMPING = 0.01
"""Added to the moments' diagonal, as a share of its mean (as in the paper)."""


def nearest_levels(rows: Tensor, scales: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """The integers nearest to rows / scales.

    Args:
        rows: (..., out, k).
        scales: (..., out, 1).
        low: smallest integer; a tensor broadcasts over (..., out, 1).
        high: largest integer, likewise.

    Returns:
        (..., out, k), integers held in float32.
    """
    levels = torch.round(rows / scales)
    return torch.minimum(torch.maximum(levels, torch.as_tensor(low)), torch.as_tensor(high))


def damped_moments(moments: Tensor, damping: float = DAMPING) -> Tensor:
    """Second moments (groups, k, k) made positive definite, also where an input never varies."""
    damped = moments.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal += damping * diagonal.mean(-1, keepdim=True).clamp_min(1e-30)
    return damped


@dataclass(frozen=True)
class MomentFactor:
    """The Cholesky factor of the inverse second moments of a layer's inputs.

    It depends on the inputs alone, so one factor serves every width of the layer.

    Attributes:
        upper: (groups, k, k) upper triangular, in the order of ``order``.
        order: (groups, k): columns by falling mean square (the "act-order" of GPTQ).
    """

    upper: Tensor
    order: Tensor

    @classmethod
    def of(cls, moments: Tensor, damping: float = DAMPING) -> MomentFactor:
        """Factor the second moments (groups, k, k)."""
        moments = moments.double()
        order = torch.argsort(
            moments.diagonal(dim1=-2, dim2=-1), dim=-1, descending=True, stable=True
        )
        moments = damped_moments(moments, damping)
        gathered = moments.gather(-2, order[..., :, None].expand_as(moments))
        ordered = gathered.gather(-1, order[..., None, :].expand_as(moments))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
        return cls(torch.linalg.cholesky(inverse, upper=True).float(), order)


def compensated_levels(
    rows: Tensor, scales: Tensor, low: Tensor | int, high: Tensor | int, factor: MomentFactor
) -> Tensor:
    """Integers that keep the layer's output, not its weights, closest.

    Args:
        rows: (groups, out, k) weights; rows of several widths can be stacked along ``out``.
        scales: (groups, out, 1).
        low: smallest integer; a tensor broadcasts over (groups, out, 1).
        high: largest integer, likewise.
        factor: of the second moments of the inputs, (groups, k, k).

    Returns:
        (groups, out, k), integers held in float32. Where the input was always zero, to nearest.
    """
    order = factor.order[:, None, :].expand(-1, rows.shape[1], -1)
    # In steps of each row's scale, columns first: (groups, k, out).
    left = (rows / scales).gather(-1, order).mT.contiguous()
    low, high = (as_row(bound, left) for bound in (low, high))
    upper = factor.upper / factor.upper.diagonal(dim1=-2, dim2=-1)[..., None]
    levels = torch.empty_like(left)
    for start in range(0, left.shape[1], _BLOCK):
        end = min(start + _BLOCK, left.shape[1])
        block = left[:, start:end]
        for j in range(start, end):
            column = left[:, j]
            torch.clamp(column.round(), low, high, out=levels[:, j])
            error = column - levels[:, j]
            spread = upper[:, j, j + 1 : end, None]
            left[:, j + 1 : end].addcmul_(spread, error[:, None], value=-1)
            block[:, j - start] = error
        left[:, end:] -= upper[:, start:end, end:].mT @ block
    return torch.empty_like(rows).scatter_(-1, order, levels.mT)


def as_row(bound: Tensor | int, like: Tensor) -> Tensor:
    """A bound of (groups, out, 1), or one for all, as (groups, out) or ()."""
    bound = torch.as_tensor(bound, dtype=like.dtype)
    return bound[..., 0] if bound.dim() else bound
