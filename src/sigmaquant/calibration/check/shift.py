"""How far a layer's inputs have moved between two sets of data, and how far noise alone moves them.

The distance is that of Fréchet between normal distributions (Dowson & Landau 1982, the formula that
Heusel et al. 2017 made the FID), channel by channel:

    d^2 = sum_c (m_c - m'_c)^2 + (s_c - s'_c)^2

with means m and standard deviations s of a channel's values. It is divided by the root of the
calibration data's total variance, sum_c s_c^2. So 0.3 says: as if all values had moved by 0.3
standard deviations.

Values of one image go together, so only samples are independent. The noise is therefore measured
on random halves of the calibration samples. d^2 of two sets of n and n' samples that are alike is
proportional to 1/n + 1/n', which carries it over to the sample counts compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCKS = 16
"""The calibration samples are summed up in so many random blocks, of which halves are made."""

FEWEST_SAMPLES = 64
"""Below it halves differ by 2 / sqrt(64) = 0.25 standard deviations in a layer that sees one value
a channel and sample: noise alone is then as large as what is worth a note. So few samples know
their own spread badly, too, and the limit of the noise is raised in proportion."""

_SPLITS = 200  # of C(16, 8) / 2 = 6435; the largest of 200 is passed by chance once in 200 layers


@dataclass(frozen=True)
class Moments:
    """First and second moments of the values of each channel.

    Attributes:
        sums: (blocks, 2, channels): sums over samples of each sample's mean and mean square.
        samples: (blocks,): number of samples.
    """

    sums: Tensor
    samples: Tensor

    @classmethod
    def of(cls, values: Tensor, blocks: Tensor, count: int) -> Moments:
        """The moments of one batch.

        Args:
            values: (batch, channels, positions).
            blocks: (batch,): the block of each sample.
            count: number of blocks.
        """
        variances, means = torch.var_mean(values, dim=2, correction=0)
        means = means.double()
        features = torch.stack((means, variances.double() + means.square()), dim=1)
        sums = torch.zeros(count, *features.shape[1:], dtype=torch.float64)
        return cls(
            sums.index_add_(0, blocks, features), torch.bincount(blocks, minlength=count).double()
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.sums + other.sums, self.samples + other.samples)


@dataclass(frozen=True)
class Shift:
    """A distance with its noise; see ``calibration_check.LayerShift``."""

    shift: float
    noise: float
    noise_limit: float


def shift(calibration: Moments, other: Moments, seed: int) -> Shift | None:
    """How far ``other`` is from the calibration data; None where the latter never vary.

    Args:
        calibration: in at least two blocks with samples.
        other: in blocks of any number.
        seed: of the halves.
    """
    whole = calibration.sums.sum(0) / calibration.samples.sum()
    variance = _deviations(whole).square().sum()
    if variance == 0:
        return None
    found = _squared_distance(whole, other.sums.sum(0) / other.samples.sum())
    noise = _squared_noise(calibration, float(other.samples.sum()), seed)
    caution = max(1.0, FEWEST_SAMPLES / float(calibration.samples.sum()))
    return Shift(
        shift=float((found / variance).sqrt()),
        noise=float((noise.mean() / variance).sqrt()),
        noise_limit=caution * float((noise.max() / variance).sqrt()),
    )


def _squared_noise(calibration: Moments, other_samples: float, seed: int) -> Tensor:
    """(splits,): squared distances of two halves, carried over to the sample counts compared."""
    used = calibration.samples > 0
    sums, samples = calibration.sums[used], calibration.samples[used]
    halves = _random_halves(len(samples), seed)
    first, second = (
        (side @ sums.flatten(1)).unflatten(1, sums.shape[1:]) / (side @ samples)[:, None, None]
        for side in (halves, 1 - halves)
    )
    expected = 1 / (halves @ samples) + 1 / ((1 - halves) @ samples)
    wanted = 1 / samples.sum() + 1 / other_samples
    return _squared_distance(first, second) * wanted / expected


def _random_halves(blocks: int, seed: int) -> Tensor:
    """(splits, blocks): 1 where the block is in the first half."""
    generator = torch.Generator().manual_seed(seed)
    orders = torch.rand(_SPLITS, blocks, generator=generator).argsort(dim=1)
    return (orders < blocks // 2).double()


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """(..., 2, channels) moments to (...)."""
    means = (a[..., 0, :] - b[..., 0, :]).square()
    return (means + (_deviations(a) - _deviations(b)).square()).sum(-1)


def _deviations(moments: Tensor) -> Tensor:
    """(..., 2, channels) moments to the standard deviations, (..., channels)."""
    return (moments[..., 1, :] - moments[..., 0, :].square()).clamp_min(0).sqrt()
