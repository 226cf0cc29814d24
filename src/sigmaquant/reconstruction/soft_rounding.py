"""AdaRound's soft rounding: how far each weight is on its way to a neighbouring level.

Nagel et al. 2020: with levels q, scale s and h(V) in 0 .. 1, the weight is s (q + h(V)) (eq. 22),
h the rectified sigmoid (eq. 23), and sum 1 - |2 h - 1|^beta (eq. 24) draws h to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sigmaquant.quantizers import level_bounds

_LOW, _HIGH = -0.1, 1.1  # zeta and gamma of eq. 23
_FIRST_STEP = 0.1  # of a level, in which every weight begins: at 0 its gradient would be too small
_FIRST_BETA, _LAST_BETA = 20.0, 2.0
_WARM_UP = 0.2  # of the steps, without the regulariser; as AdaRound's


class SoftRounding:
    """The rounding of one layer, as variables to be trained.

    Each weight chooses between the level that it starts at and the neighbour towards which the loss
    falls: no other level can lower the loss by itself.

    Args:
        start: (out, ...) integers, which ``levels`` gives before training.
        scale: (out, 1, ...).
        bits: width of the levels.
        gradient: (out, ...) of the loss by the weight.

    Attributes:
        variables: V, (out, ...).
    """

    def __init__(self, start: Tensor, scale: Tensor, bits: int, gradient: Tensor) -> None:
        low, high = level_bounds(bits)
        rises = ((gradient < 0) | (start == low)) & (start < high)
        self._scale = scale
        self._lower = start - (~rises).to(start.dtype)
        fraction = torch.full_like(scale, _FIRST_STEP).expand_as(gradient)
        fraction = torch.where(rises, fraction, 1 - fraction)
        self.variables = nn.Parameter(torch.logit((fraction - _LOW) / (_HIGH - _LOW)))

    def fractions(self) -> Tensor:
        """h(V): (out, ...)."""
        return torch.clamp(torch.sigmoid(self.variables) * (_HIGH - _LOW) + _LOW, 0, 1)

    def weight(self) -> Tensor:
        """The weight between its levels (out, ...), differentiable."""
        return self._scale * (self._lower + self.fractions())

    def levels(self) -> Tensor:
        """The nearest levels: integers (out, ...)."""
        return self._lower + (self.fractions().detach() >= 0.5).to(self._lower.dtype)


def indecision(roundings: Iterable[SoftRounding], beta: float) -> Tensor:
    """The mean of 1 - |2 h - 1|^beta over all weights: 0 where each is at a level, at most 1."""
    parts = [1 - (2 * rounding.fractions() - 1).abs().pow(beta).flatten() for rounding in roundings]
    return torch.cat(parts).mean()


def beta_at(done: float) -> float | None:
    """The exponent after the part ``done`` of the steps, annealed on a cosine; None in the warm-up.

    A large one leaves what lies between two levels alone; a small one draws everything to a level.
    """
    if done < _WARM_UP:
        return None
    annealed = (done - _WARM_UP) / (1 - _WARM_UP)
    return _LAST_BETA + (_FIRST_BETA - _LAST_BETA) * 0.5 * (1 + math.cos(math.pi * annealed))
