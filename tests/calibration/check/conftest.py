"""A network that has learned scikit-learn's digits, and the digits in a random order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.calibration import check_calibration
from sigmaquant.calibration_check import CalibrationCheck
from sigmaquant.network import Network, capture

BATCH = 50


@dataclass(frozen=True)
class Digits:
    """The network and images it has not seen; (n, 1, 16, 16) in -1..1."""

    network: Network
    images: Tensor
    labels: Tensor

    def check(self, calibration: Tensor, other: Tensor, seed: int = 0) -> CalibrationCheck:
        """Compare two sets of images, without labels."""
        return check_calibration(
            self.network, calibration.split(BATCH), other.split(BATCH), seed=seed
        )

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """So many images, and 400 others."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
        return self.images[order[:count]], self.images[order[count : count + 400]]


@pytest.fixture(scope="session")
def digits() -> Digits:
    pixels, labels = datasets.load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    x = F.interpolate(x, size=16, mode="bilinear", align_corners=False)
    y = torch.tensor(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        order = torch.randperm(len(x))
        train, rest = order[:897], order[897:]
        for step in range(120):
            rows = train[torch.randperm(897, generator=torch.Generator().manual_seed(step))[:64]]
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return Digits(capture(model.eval(), x[:2]), x[rest], y[rest])
