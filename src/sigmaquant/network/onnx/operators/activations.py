"""Functions of one value each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Step


def _clip(call: Call) -> Step:
    low, high = _limit(call, 1, "min", -math.inf), _limit(call, 2, "max", math.inf)
    if (low, high) == (0, math.inf):
        return Step(nn.ReLU())
    if (low, high) == (0, 6) and call.value().dtype.is_floating_point:
        return Step(nn.ReLU6())
    return Step(Clip(None if low == -math.inf else low, None if high == math.inf else high))


def _limit(call: Call, position: int, what: str, default: float) -> float:
    found = call.optional(position, what)
    if found is None:
        return default
    if found.numel() != 1:
        call.damaged(f"its {what} is not a number")
    return float(found.item()) if found.is_floating_point() else int(found.item())


def _leaky_relu(call: Call) -> Step:
    return Step(nn.LeakyReLU(call.number("alpha", 0.01)))


def _prelu(call: Call) -> Step:
    slope = call.parameter(1, "slope")
    rank = call.rank()
    aligned = (*[1] * (rank - slope.dim()), *slope.shape)
    per_channel = len(aligned) == rank >= 2 and slope.numel() in (1, aligned[1])
    if per_channel and slope.numel() in (1, call.shape()[1]):
        layer = nn.PReLU(slope.numel(), device="meta")
        layer.weight = nn.Parameter(slope.detach().reshape(-1))
        return Step(layer)
    return Step(SlopedRelu(slope))


def _hard_sigmoid(call: Call) -> Step:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return Step(nn.Hardsigmoid())
    return Step(HardSigmoid(alpha, beta))


def _gelu(call: Call) -> Step:
    mode = call.text("approximate", "none")
    if mode not in ("none", "tanh"):
        call.damaged(f"its approximate is {mode!r}")
    return Step(nn.GELU(approximate=mode))


def _elu(call: Call) -> Step:
    return Step(nn.ELU(call.number("alpha", 1.0)))


def _softmax(kind: type[nn.Softmax | nn.LogSoftmax]) -> Builder:
    def build(call: Call) -> Step:
        # Until opset 12 everything from the axis on was one dimension, by default from axis 1.
        joined = call.opset < 13
        axis = call.axis(call.integer("axis", 1 if joined else -1))
        if not joined or axis == call.rank() - 1:
            return Step(kind(dim=axis))
        shape = tuple(call.fixed(dim) for dim in range(axis, call.rank()))
        return Step(JoinedSoftmax(kind(dim=-1), axis, shape))

    return build


def _module(make: Callable[[], nn.Module]) -> Builder:
    return lambda _: Step(make())


class Clip(nn.Module):
    """Limits values; None is no limit."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return x if self.low is None and self.high is None else torch.clamp(x, self.low, self.high)


class SlopedRelu(nn.Module):
    """A leaky ReLU whose slope broadcasts to the input."""

    def __init__(self, slope: nn.Parameter) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return torch.relu(x) - self.slope * torch.relu(-x)


class HardSigmoid(nn.Module):
    """``alpha * x + beta``, limited to 0 and 1."""

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return torch.clamp(x * self.alpha + self.beta, 0.0, 1.0)


class JoinedSoftmax(nn.Module):
    """A softmax over all dimensions from an axis on.

    Args:
        softmax: over the last dimension.
        axis: the first that is joined.
        shape: of the joined dimensions.
    """

    def __init__(self, softmax: nn.Module, axis: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.softmax = softmax
        self.axis = axis
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        joined: Tensor = self.softmax(x.flatten(self.axis))
        return torch.unflatten(joined, -1, self.shape)


BUILDERS: dict[str, Builder] = {
    "Clip": _clip,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _module(nn.Hardswish),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax(nn.LogSoftmax),
    "Mish": _module(nn.Mish),
    "PRelu": _prelu,
    "Relu": _module(nn.ReLU),
    "Sigmoid": _module(nn.Sigmoid),
    "Softmax": _softmax(nn.Softmax),
    "Softplus": _module(nn.Softplus),
    "Tanh": _module(nn.Tanh),
}
"""By ONNX operator."""
