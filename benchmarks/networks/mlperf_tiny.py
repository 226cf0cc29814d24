"""MLPerf Tiny's networks (mlcommons/tiny, Banbury et al. 2021), converted from TensorFlow.

SAME padding throughout, BatchNorm epsilon 1e-3, convolutions with bias.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.networks.same_padding import SameConv2d

_EPSILON = 1e-3


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


class ResNet8(nn.Module):
    """Image classification: (n, 3, 32, 32) in 0..255 to (n, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.bn0 = SameConv2d(3, 16, 3), _norm(16)
        self.conv1, self.bn1 = SameConv2d(16, 16, 3), _norm(16)
        self.conv2, self.bn2 = SameConv2d(16, 16, 3), _norm(16)
        self.conv3, self.bn3 = SameConv2d(16, 32, 3, 2), _norm(32)
        self.conv4, self.bn4 = SameConv2d(32, 32, 3), _norm(32)
        self.conv5 = SameConv2d(16, 32, 1, 2)
        self.conv6, self.bn5 = SameConv2d(32, 64, 3, 2), _norm(64)
        self.conv7, self.bn6 = SameConv2d(64, 64, 3), _norm(64)
        self.conv8 = SameConv2d(32, 64, 1, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the ten classes."""
        x = F.relu(self.bn0(self.conv0(x)))
        y = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(y)) + x)
        y = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(y)) + self.conv5(x))
        y = F.relu(self.bn5(self.conv6(x)))
        x = F.relu(self.bn6(self.conv7(y)) + self.conv8(x))
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


class DsCnn(nn.Module):
    """Keyword spotting: (n, 1, 49, 10) MFCC to (n, 12) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.bn0 = SameConv2d(1, 64, (10, 4), 2), _norm(64)
        self.dw0, self.bn1 = SameConv2d(64, 64, 3, groups=64), _norm(64)
        self.conv1, self.bn2 = SameConv2d(64, 64, 1), _norm(64)
        self.dw1, self.bn3 = SameConv2d(64, 64, 3, groups=64), _norm(64)
        self.conv2, self.bn4 = SameConv2d(64, 64, 1), _norm(64)
        self.dw2, self.bn5 = SameConv2d(64, 64, 3, groups=64), _norm(64)
        self.conv3, self.bn6 = SameConv2d(64, 64, 1), _norm(64)
        self.dw3, self.bn7 = SameConv2d(64, 64, 3, groups=64), _norm(64)
        self.conv4, self.bn8 = SameConv2d(64, 64, 1), _norm(64)
        self.fc = nn.Linear(64, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the twelve classes."""
        x = F.relu(self.bn0(self.conv0(x)))
        x = F.relu(self.bn1(self.dw0(x)))
        x = F.relu(self.bn2(self.conv1(x)))
        x = F.relu(self.bn3(self.dw1(x)))
        x = F.relu(self.bn4(self.conv2(x)))
        x = F.relu(self.bn5(self.dw2(x)))
        x = F.relu(self.bn6(self.conv3(x)))
        x = F.relu(self.bn7(self.dw3(x)))
        x = F.relu(self.bn8(self.conv4(x)))
        # The original pools 24 of the 25 rows.
        logits: torch.Tensor = self.fc(F.avg_pool2d(x, (24, 5)).flatten(1))
        return logits


class Autoencoder(nn.Module):
    """Anomaly detection: (n, 640) windows of log-mel frames to their (n, 640) reconstruction."""

    WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)

    def __init__(self) -> None:
        super().__init__()
        for index, (inputs, outputs) in enumerate(zip(self.WIDTHS, self.WIDTHS[1:], strict=False)):
            self.add_module(f"fc{index}", nn.Linear(inputs, outputs))
        for index, width in enumerate(self.WIDTHS[1:-1]):
            self.add_module(f"bn{index}", nn.BatchNorm1d(width, eps=_EPSILON))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction."""
        last = len(self.WIDTHS) - 2
        for index in range(last):
            linear, norm = self.get_submodule(f"fc{index}"), self.get_submodule(f"bn{index}")
            x = F.relu(norm(linear(x)))
        reconstruction: torch.Tensor = self.get_submodule(f"fc{last}")(x)
        return reconstruction
