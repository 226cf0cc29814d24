"""Adam in steps relative to each parameter's size, on a cosine schedule.

Neither the scale of the inputs nor that of a layer then matters to the learning rate.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_SMALLEST_UNIT = 1e-8  # a parameter of zeros has no size to step by and hardly moves


def relative_adam(module: nn.Module) -> torch.optim.Optimizer:
    """Adam with one group a parameter; ``unit`` is the parameter's root mean square."""
    groups = [
        {"params": [p], "unit": max(float(p.detach().square().mean().sqrt()), _SMALLEST_UNIT)}
        for p in module.parameters()
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float, done: float) -> None:
    """The rate of ``relative_adam`` after the part ``done`` of training, 0 to 1."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["unit"] * 0.5 * (1 + math.cos(math.pi * done))
