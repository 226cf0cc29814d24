"""What the demo works on: a small residual network and scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from sigmaquant.errors import MissingExtraError
from sigmaquant.progress import progress_bar

IMAGE_SIZE = 16  # pixels; the data set's 8 x 8 leave nothing to pool
TRAINING_SAMPLES = 997
CALIBRATION_SAMPLES = 300
TEST_SAMPLES = 500
EPOCHS = 12
BATCH_SIZE = 32
PEAK_LEARNING_RATE = 4e-3  # of the one-cycle schedule (Smith & Topin 2019); twice it diverges


class ResidualBlock(nn.Module):
    """conv-BN-ReLU-conv-BN beside a shortcut, then ReLU.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output; where they differ the shortcut is a 1 x 1 convolution.
        stride: of the first convolution and the shortcut.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels_out, h/stride, w/stride)."""
        residual = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(residual + self.shortcut(x))


class DigitNet(nn.Module):
    """A ResNet with 77,072 weights: MLPerf Tiny's ResNet-8 for grey images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.block1 = ResidualBlock(16, 16, 1)
        self.block2 = ResidualBlock(16, 32, 2)
        self.block3 = ResidualBlock(32, 64, 2)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images of (n, 1, 16, 16) to logits of (n, 10)."""
        features = self.block3(self.block2(self.block1(self.stem(x))))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


@dataclass(frozen=True)
class Digits:
    """The data set in three parts, none of which shares an image with another.

    Attributes:
        training: for the float network and for fine-tuning.
        calibration: for scoring, rounding and judging plans.
        test: for the reported accuracy only.
    """

    training: TensorDataset
    calibration: TensorDataset
    test: TensorDataset


def load_digits(seed: int = 0) -> Digits:
    """scikit-learn's 1,797 digits as (1, 16, 16) images in -1 .. 1, shuffled and split.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError("the demo", "demo") from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    images = functional.interpolate(images, size=IMAGE_SIZE, mode="bilinear", align_corners=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    sizes = [TRAINING_SAMPLES, CALIBRATION_SAMPLES, TEST_SAMPLES]
    return Digits(
        *(TensorDataset(images[i], torch.tensor(labels)[i].long()) for i in order.split(sizes))
    )


def train(training: TensorDataset, seed: int = 0) -> DigitNet:
    """A trained network in eval mode; half a minute on one core."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitNet().train()
        loader = DataLoader(training, BATCH_SIZE, shuffle=True, drop_last=True)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
        steps = EPOCHS * len(loader)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, steps)
        with progress_bar("training the demo's network", EPOCHS) as advance:
            for _ in range(EPOCHS):
                for images, labels in loader:
                    optimizer.zero_grad()
                    functional.cross_entropy(network(images), labels).backward()
                    optimizer.step()
                    schedule.step()
                advance()
    return network.eval()
