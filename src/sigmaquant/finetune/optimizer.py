"""Adam in steps relative to what they change, channel by channel, on a cosine schedule.

Neither the scale of the inputs nor that of a layer or a channel then matters to the learning rate.
Channels need it most: with BatchNorm folded in, a depthwise convolution's weights differ a
hundredfold from channel to channel, and a step that suits the largest ruins the others.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sigmaquant.quantized import QuantizedNetwork

_SMALLEST_UNIT = 1e-8  # what is all zeros has no size to step by and hardly moves


class RelativeAdam:
    """Adam whose step is the learning rate times the size of what is moved.

    Sizes are those at the start: of a weight (out, ...) the root mean square of each output
    channel, of a bias (out,) that of the whole times the channel's share in the weight's, of a step
    size its value, and of any other parameter its root mean square.

    Args:
        student: the network in training.
    """

    def __init__(self, student: QuantizedNetwork) -> None:
        self._parameters = list(student.parameters())
        units = _units(student)
        self._units = [units[p].clamp_min(_SMALLEST_UNIT) for p in self._parameters]
        # Adam's steps do not depend on the size of gradients, so it moves these in steps of 1.
        self._moves = [torch.zeros_like(p) for p in self._parameters]
        self._adam = torch.optim.Adam(self._moves, lr=1.0, betas=(0.9, 0.99))

    def step(self, learning_rate: float, done: float) -> None:
        """Move every parameter that has a gradient.

        Args:
            learning_rate: at the start of the schedule.
            done: the part of training that is behind, 0 to 1.
        """
        rate = learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        for parameter, move in zip(self._parameters, self._moves, strict=True):
            move.grad = parameter.grad
            move.zero_()
        self._adam.step()
        with torch.no_grad():
            for parameter, move, unit in zip(
                self._parameters, self._moves, self._units, strict=True
            ):
                parameter.addcmul_(move, unit, value=rate)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter, move in zip(self._parameters, self._moves, strict=True):
            parameter.grad = move.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments, for ``load_state_dict``."""
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from moments that were kept; the sizes have to be those of the same start."""
        self._adam.load_state_dict(state)


def _units(student: QuantizedNetwork) -> dict[Tensor, Tensor]:
    """What one step of every parameter is relative to, broadcasting over it."""
    units: dict[Tensor, Tensor] = {
        parameter: _root_mean_square(parameter) for parameter in student.parameters()
    }
    for layer, calls in student.network.layer_nodes().items():
        weight, scale = student.weight(layer), student.weight_quantizer(layer).scale
        channels = weight.detach().flatten(1).square().mean(1).sqrt()
        units[weight] = channels.reshape(-1, *[1] * (weight.dim() - 1))
        units[scale] = scale.detach().abs()
        share = channels / _root_mean_square(channels).clamp_min(_SMALLEST_UNIT)
        for index in range(len(calls)):
            bias = student.bias(layer, index)
            units[bias] = _root_mean_square(bias) * share
    return units


def _root_mean_square(values: Tensor) -> Tensor:
    return values.detach().square().mean().sqrt()
