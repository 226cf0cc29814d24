"""Small networks of random operators, drawn from a seed, and plans for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.bitplan import BitPlan
from sigmaquant.layers import WIDTHS, LayerTable

Draw = np.random.Generator
Maker = Callable[[Draw, int, int], tuple[nn.Module, int, int]]
"""From channels and size to a module, its output's channels and its output's size."""

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.GELU,
    nn.LeakyReLU, nn.ELU,
)  # fmt: skip
_SMALLEST = 4


class Residual(nn.Module):
    """A branch of two layers beside its input."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.second(F.relu(self.norm(self.first(x)))))


class Branches(nn.Module):
    """Two views of one input, joined and shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(channels, channels, 3, padding=1)
        self.right = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([F.relu(self.left(x)), self.right(x)], dim=1)
        batch, channels, height, width = joined.shape
        split = joined.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return split.reshape(batch, channels, height, width)


class Gate(nn.Module):
    """Squeeze and excitation: channels times a factor of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, 2, 1)
        self.excite = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(means))))


class Halves(nn.Module):
    """Channels split, one half through a layer, and joined the other way round."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return torch.cat([self.layer(right), left], dim=1)


class Cut(nn.Module):
    """A border put around the image, and its first row and column taken away."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1))[:, :, 1:, 1:]


def _convolution(draw: Draw, channels: int, size: int) -> tuple[nn.Module, int, int]:
    out = int(draw.choice([4, 8, 12]))
    kernel, stride = int(draw.choice([1, 3])), int(draw.choice([1, 1, 2]))
    groups = int(draw.choice([g for g in (1, 1, 2, 4) if channels % g == 0]))
    layers = [nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups)]
    if draw.integers(2):
        layers.append(nn.BatchNorm2d(out))
    return nn.Sequential(*layers, _activation(draw)), out, -(-size // stride)


def _activation(draw: Draw) -> nn.Module:
    return _ACTIVATIONS[draw.integers(len(_ACTIVATIONS))]()


def _transposed(draw: Draw, channels: int, size: int) -> tuple[nn.Module, int, int]:
    return nn.ConvTranspose2d(channels, 4, 2, 2), 4, 2 * size


def _upsampled(draw: Draw, channels: int, size: int) -> tuple[nn.Module, int, int]:
    bilinear = draw.integers(2)
    mode = nn.Upsample(scale_factor=2, mode="bilinear" if bilinear else "nearest")
    return mode, channels, 2 * size


def _pooled(draw: Draw, channels: int, size: int) -> tuple[nn.Module, int, int]:
    if size < _SMALLEST:
        return _activation(draw), channels, size
    return (nn.MaxPool2d(2) if draw.integers(2) else nn.AvgPool2d(2)), channels, size // 2


def _residual(draw: Draw, channels: int, size: int) -> tuple[nn.Module, int, int]:
    return Residual(channels, _activation(draw)), channels, size


def _same(kind: Callable[[int], nn.Module]) -> Maker:
    return lambda _, channels, size: (kind(channels), channels, size)


_BLOCKS: tuple[Maker, ...] = (
    _convolution,
    _convolution,
    _residual,
    _pooled,
    _upsampled,
    _transposed,
    lambda _, channels, size: (Branches(channels), 2 * channels, size),
    _same(Gate),
    _same(lambda channels: Halves(channels) if channels % 2 == 0 else nn.Identity()),
    lambda _, channels, size: (Cut(), channels, size + 1),
)


class Head(nn.Module):
    """A layer over all values, or over means of all places, or that and a softmax."""

    def __init__(self, channels: int, size: int, kind: int) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(channels if kind else channels * size * size, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layer(x.mean((2, 3)) if self.kind else x.flatten(1))
        return torch.softmax(logits, dim=1) if self.kind > 1 else logits


def random_network(seed: int) -> tuple[nn.Module, Tensor]:
    """Two to four blocks and a head, in eval mode; and a batch of inputs."""
    draw = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels, size = int(draw.choice([1, 3, 4])), int(draw.integers(6, 9))
        inputs = torch.randn(6, channels, size, size)
        first, channels, size = _convolution(draw, channels, size)
        blocks = [first]
        for _ in range(draw.integers(1, 4)):
            make = _BLOCKS[draw.integers(len(_BLOCKS))]
            block, channels, size = make(draw, channels, size)
            blocks.append(block)
        network = nn.Sequential(*blocks, Head(channels, size, int(draw.integers(3))))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2.0)
                module.running_mean.normal_(0.0, 0.3)
    return network.eval(), inputs


def random_plan(seed: int, table: LayerTable) -> BitPlan:
    """Any width for each layer's weights; activations mostly of 8 bits."""
    draw = np.random.default_rng(seed)
    plan = BitPlan.uniform(table, 8, int(draw.choice([8, 8, 8, 6, 4])))
    return plan.with_weight_bits({layer.name: int(draw.choice(WIDTHS)) for layer in table.layers})
