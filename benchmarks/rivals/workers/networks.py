"""The networks of the comparison as plain torch modules, BatchNorm already folded.

Layer names have no dots, so that every tool reports a layer under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Block(NamedTuple):
    """Two 3x3 convolutions and a shortcut.

    Attributes:
        name: prefix of its layers.
        channels_in: channels of the input.
        channels: channels of the output.
        stride: of the first convolution and the shortcut.
        shortcut: "identity", "conv" for a 1x1 convolution, or "pad" for every second pixel and
            zeros as new channels.
    """

    name: str
    channels_in: int
    channels: int
    stride: int
    shortcut: str


class ResidualNetwork(nn.Module):
    """3x3 stem, blocks, global mean, linear: (n, channels_in, h, w) to (n, 10) logits.

    Args:
        channels_in: channels of the images.
        blocks: in order.
        same_padding: TensorFlow's, where a stride of 2 pads the end alone.
    """

    def __init__(
        self, channels_in: int, blocks: tuple[Block, ...], *, same_padding: bool = False
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.same_padding = same_padding
        self.stem = nn.Conv2d(channels_in, blocks[0].channels_in, 3, padding=1)
        self.stem_relu = nn.ReLU()
        for block in blocks:
            self._add_block(block)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(blocks[-1].channels, 10)

    def _add_block(self, block: Block) -> None:
        name, inputs, outputs, stride, shortcut = block
        padding = 0 if self.same_padding and stride == 2 else 1
        self.add_module(f"{name}_conv1", nn.Conv2d(inputs, outputs, 3, stride, padding))
        self.add_module(f"{name}_relu1", nn.ReLU())
        self.add_module(f"{name}_conv2", nn.Conv2d(outputs, outputs, 3, padding=1))
        self.add_module(f"{name}_relu2", nn.ReLU())
        if shortcut == "conv":
            self.add_module(f"{name}_shortcut", nn.Conv2d(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the ten classes."""
        x = self.stem_relu(self.stem(x))
        for block in self.blocks:
            x = self._block(block, x)
        logits: torch.Tensor = self.linear(torch.flatten(self.mean(x), 1))
        return logits

    def _block(self, block: Block, x: torch.Tensor) -> torch.Tensor:
        name, inputs, outputs, stride, shortcut = block
        y = F.pad(x, (0, 1, 0, 1)) if self.same_padding and stride == 2 else x
        y = getattr(self, f"{name}_relu1")(getattr(self, f"{name}_conv1")(y))
        y = getattr(self, f"{name}_conv2")(y)
        if shortcut == "conv":
            x = getattr(self, f"{name}_shortcut")(x)
        elif shortcut == "pad":
            half = (outputs - inputs) // 2
            x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, half, half))
        added: torch.Tensor = getattr(self, f"{name}_relu2")(y + x)
        return added


class SeparableNetwork(nn.Module):
    """MLPerf Tiny's DS-CNN: (n, 1, 49, 10) features to (n, 12) logits."""

    PAIRS = 4
    CHANNELS = 64

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, self.CHANNELS, (10, 4), 2)
        self.stem_relu = nn.ReLU()
        for index in range(self.PAIRS):
            depthwise = nn.Conv2d(self.CHANNELS, self.CHANNELS, 3, padding=1, groups=self.CHANNELS)
            self.add_module(f"depthwise{index}", depthwise)
            self.add_module(f"depthwise{index}_relu", nn.ReLU())
            self.add_module(f"pointwise{index}", nn.Conv2d(self.CHANNELS, self.CHANNELS, 1))
            self.add_module(f"pointwise{index}_relu", nn.ReLU())
        self.pool = nn.AvgPool2d((24, 5))
        self.linear = nn.Linear(self.CHANNELS, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the twelve classes."""
        x = self.stem_relu(self.stem(F.pad(x, (1, 1, 4, 5))))
        for index in range(self.PAIRS):
            for kind in ("depthwise", "pointwise"):
                convolved = getattr(self, f"{kind}{index}")(x)
                x = getattr(self, f"{kind}{index}_relu")(convolved)
        logits: torch.Tensor = self.linear(torch.flatten(self.pool(x), 1))
        return logits


def digits() -> ResidualNetwork:
    """The demo's network: 77,072 weights, grey images of 16 x 16."""
    blocks = (
        Block("block1", 16, 16, 1, "identity"),
        Block("block2", 16, 32, 2, "conv"),
        Block("block3", 32, 64, 2, "conv"),
    )
    return ResidualNetwork(1, blocks)


def resnet8() -> ResidualNetwork:
    """MLPerf Tiny's ResNet-8."""
    blocks = (
        Block("block1", 16, 16, 1, "identity"),
        Block("block2", 16, 32, 2, "conv"),
        Block("block3", 32, 64, 2, "conv"),
    )
    return ResidualNetwork(3, blocks, same_padding=True)


def resnet20() -> ResidualNetwork:
    """ResNet-20 for CIFAR-10 with shortcuts of option A."""
    blocks: list[Block] = []
    channels = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for index in range(3):
            wider = width != channels
            kind = "pad" if wider else "identity"
            blocks.append(Block(f"layer{stage}_{index}", channels, width, 2 if wider else 1, kind))
            channels = width
    return ResidualNetwork(3, tuple(blocks))


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "digits": digits,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "dscnn": SeparableNetwork,
}
"""The networks, with random weights, by name."""
