"""EfficientNet-Lite0 and MobileNetV2 1.0 for ImageNet, with the names of their weight files.

Both have inverted residual blocks (Sandler et al. 2018), ReLU6 and TensorFlow's SAME padding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.networks.same_padding import SameConv2d


class Stage(NamedTuple):
    """Blocks in a row; the stride is the first one's."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


LITE0_STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
MOBILENETV2_STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 32, 3, 2, 3),
    Stage(6, 64, 4, 2, 3),
    Stage(6, 96, 3, 1, 3),
    Stage(6, 160, 3, 2, 3),
    Stage(6, 320, 1, 1, 3),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _LiteBlock(nn.Module):
    """Expand, depthwise, project; BatchNorm after each."""

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = channels_in * stage.expansion
        self.expands = stage.expansion > 1
        self.residual = stride == 1 and channels_in == stage.channels
        if self.expands:
            self._expand_conv = SameConv2d(channels_in, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv2d(
            inner, inner, stage.kernel, stride, groups=inner, bias=False
        )
        self._bn1 = _norm(inner)
        self._project_conv = SameConv2d(inner, stage.channels, 1, bias=False)
        self._bn2 = _norm(stage.channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        projected: torch.Tensor = self._bn2(self._project_conv(y))
        return x + projected if self.residual else projected


class EfficientNetLite0(nn.Module):
    """(n, 3, 224, 224) images to (n, 1000) logits."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for stage in LITE0_STAGES:
            for index in range(stage.blocks):
                blocks.append(_LiteBlock(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(channels, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the thousand classes."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        logits: torch.Tensor = self._fc(x.mean((2, 3)))
        return logits


def _activated(conv: SameConv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.ReLU6())


class _MobileBlock(nn.Module):
    """Expand, depthwise, project; BatchNorm is folded into the convolutions."""

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = channels_in * stage.expansion
        self.residual = stride == 1 and channels_in == stage.channels
        depthwise = SameConv2d(inner, inner, stage.kernel, stride, groups=inner)
        layers: list[nn.Module] = [_activated(depthwise), SameConv2d(inner, stage.channels, 1)]
        if stage.expansion > 1:
            layers.insert(0, _activated(SameConv2d(channels_in, inner, 1)))
        self.conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """(n, 3, 224, 224) images in -1..1 to (n, 1000) logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_activated(SameConv2d(3, 32, 3, 2))]
        channels = 32
        for stage in MOBILENETV2_STAGES:
            for index in range(stage.blocks):
                layers.append(_MobileBlock(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        layers.append(_activated(SameConv2d(channels, 1280, 1)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the thousand classes."""
        y: torch.Tensor = self.features(x)
        logits: torch.Tensor = self.classifier(y.mean((2, 3)))
        return logits


def dequantized(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a file that stores ``X.weight_int8`` and ``X.weight_scale`` for ``X.weight``.

    The scale is (out,) or (1,), along the first dimension of the weight.
    """
    state = {}
    for key, tensor in tensors.items():
        if key.endswith(".weight_int8"):
            name = key.removesuffix("_int8")
            scale = tensors[f"{name}_scale"].reshape(-1, *(1 for _ in tensor.shape[1:]))
            state[name] = tensor.float() * scale
        elif not key.endswith(".weight_scale"):
            state[key] = tensor
    return state
