"""The networks of the comparison with their images: what all tools are given alike."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks import assets
from benchmarks.networks import NETWORKS, load_network
from benchmarks.rivals.folding import folded_state
from benchmarks.rivals.workers.exchange import Samples
from benchmarks.rivals.workers.networks import BUILDERS
from sigmaquant.demo_network import load_digits
from sigmaquant.demo_network import train as train_digits

CALIBRATION_SAMPLES = 256
_POOL_IMAGES = 10_000  # of CIFAR-10's training images; draws come from them


@dataclass(frozen=True)
class Draw:
    """One draw of the calibration samples.

    Attributes:
        calibration: to score and calibrate with.
        test: to report on; none of them is in ``calibration``.
    """

    calibration: Samples
    test: Samples


@dataclass(frozen=True)
class Subject:
    """A network with the samples that draws come from.

    Attributes:
        name: a key of ``SUBJECTS``.
        trained: the float network as it was trained.
        pool: samples that calibration samples are drawn from.
        test: samples to report on; None where these are the rest of the pool.
    """

    name: str
    trained: nn.Module
    pool: Samples
    test: Samples | None

    @functools.cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """Parameters of the plain network, BatchNorm folded."""
        return folded_state(self.name, self.trained)

    def module(self) -> nn.Module:
        """The plain float network, in eval mode."""
        module = BUILDERS[self.name]()
        module.load_state_dict(self.state)
        return module.eval()

    def draw(self, seed: int) -> Draw:
        """The calibration samples of that seed, and the test samples."""
        order = torch.randperm(len(self.pool), generator=torch.Generator().manual_seed(seed))
        chosen, rest = order[:CALIBRATION_SAMPLES], order[CALIBRATION_SAMPLES:]
        return Draw(self.pool.at(chosen), self.pool.at(rest) if self.test is None else self.test)


def _digits(test_samples: int | None) -> Subject:
    data = load_digits()
    parts = (data.training.tensors, data.calibration.tensors)
    pool = Samples(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
    test = Samples(*data.test.tensors).first(test_samples)
    return Subject("digits", _trained_alike(data.training), pool, test)


def _trained_alike(training: TensorDataset) -> nn.Module:
    """The demo's network, trained on one thread: more would sum in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train_digits(training)
    finally:
        torch.set_num_threads(threads)


def _cifar(name: str, test_samples: int | None) -> Subject:
    prepare = NETWORKS[name].prepare
    pool = assets.cifar10("train", _POOL_IMAGES)
    test = assets.cifar10("test", test_samples)
    return Subject(
        name,
        load_network(name),
        Samples(prepare(pool.images), torch.from_numpy(pool.labels)),
        Samples(prepare(test.images), torch.from_numpy(test.labels)),
    )


def _dscnn(test_samples: int | None) -> Subject:
    data = assets.mlperf_keywords()
    inputs = NETWORKS["dscnn"].prepare(data.features)
    pool = Samples(inputs, torch.from_numpy(data.labels))
    return Subject("dscnn", load_network("dscnn"), pool, None)


SUBJECTS: dict[str, Callable[[int | None], Subject]] = {
    "digits": _digits,
    "resnet20": functools.partial(_cifar, "resnet20"),
    "resnet8": functools.partial(_cifar, "resnet8"),
    "dscnn": _dscnn,
}
"""Networks by name; each is loaded with so many of its first test samples, or all (None)."""
