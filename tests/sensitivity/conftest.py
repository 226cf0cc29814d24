from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.network import Network, capture


@dataclass(frozen=True)
class Trained:
    """A small convolutional network that has learned scikit-learn's digits."""

    network: Network
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="session")
def trained() -> Trained:
    pixels, labels = datasets.load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    y = torch.tensor(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 9, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(120):
            rows = torch.randperm(1200, generator=torch.Generator().manual_seed(step))[:128]
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return Trained(capture(model, x[:2]), x, y)
