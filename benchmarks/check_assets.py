"""Compare the rebuilt fp32 networks with the originals' recorded answers, sample by sample.

Run ``python -m benchmarks.check_assets [--count 500]``; the exit code is 4 where an answer differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import assets
from benchmarks.networks import NETWORKS, load_network

_BATCH = 100
# Scores differ by the order of float sums; 1e-4 relative was never reached by that.
_SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class AssetCheck:
    """One network on one data set.

    Attributes:
        expected: name in the file of recorded answers.
        network: name in the catalogue.
        samples: the first so many samples of the data set, as stored.
    """

    expected: str
    network: str
    samples: Callable[[int], npt.NDArray[Any]]


@dataclass(frozen=True)
class Agreement:
    """How many of the samples got the recorded answer."""

    agreeing: int
    total: int


def _cifar_test(count: int) -> npt.NDArray[Any]:
    return assets.cifar10("test", count).images


def _imagenet(name: str) -> Callable[[int], npt.NDArray[Any]]:
    def samples(count: int) -> npt.NDArray[Any]:
        known = len(assets.expected_predictions(f"{name}_effnet_lite0"))
        return assets.imagenet(name, range(min(count, known))).images

    return samples


CHECKS = (
    AssetCheck("cifar10_resnet20", "resnet20", _cifar_test),
    AssetCheck("cifar10_resnet56", "resnet56", _cifar_test),
    AssetCheck("cifar10_mlperf_resnet8", "resnet8", _cifar_test),
    AssetCheck("ic01_resnet8", "resnet8", lambda n: assets.mlperf_images().images[:n]),
    AssetCheck("kws01_dscnn", "dscnn", lambda n: assets.mlperf_keywords().features[:n]),
    AssetCheck("ad01_score", "autoencoder", lambda n: assets.mlperf_sounds().frames[:n]),
    AssetCheck("sample1000_effnet_lite0", "efficientnet_lite0", _imagenet("sample1000")),
    AssetCheck("sample1000_mobilenetv2", "mobilenetv2", _imagenet("sample1000")),
    AssetCheck(
        "mlperf_mobile_tiny300_effnet_lite0",
        "efficientnet_lite0",
        _imagenet("mlperf_mobile_tiny300"),
    ),
    AssetCheck(
        "mlperf_mobile_tiny300_mobilenetv2", "mobilenetv2", _imagenet("mlperf_mobile_tiny300")
    ),
)


def agreement(check: AssetCheck, count: int) -> Agreement:
    """The first ``count`` samples, answered by the rebuilt network and compared.

    Raises:
        AssetsAbsentError: models and data are not there.
    """
    samples = check.samples(count)
    expected = assets.expected_predictions(check.expected)[: len(samples)]
    if check.network == "autoencoder":
        scores = anomaly_scores(load_network(check.network), samples)
        equal = np.isclose(scores, expected, rtol=_SCORE_TOLERANCE, atol=0.0)
    else:
        equal = _classes(check.network, samples) == expected
    return Agreement(int(equal.sum()), len(equal))


@torch.inference_mode()
def _classes(name: str, samples: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    model, prepare = load_network(name), NETWORKS[name].prepare
    batches = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
    return np.concatenate([model(prepare(batch)).argmax(1).numpy() for batch in batches])


@torch.inference_mode()
def anomaly_scores(model: torch.nn.Module, frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Mean squared reconstruction error of each clip, over its windows; (clips,)."""
    windows = NETWORKS["autoencoder"].prepare(frames)
    errors = (model(windows) - windows).square().mean(1)
    scores: npt.NDArray[np.float32] = errors.reshape(len(frames), -1).mean(1).numpy()
    return scores


def main() -> int:
    """Print one line a check; 0 where every answer agrees, else 4."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_assets", description=__doc__)
    parser.add_argument("--count", type=int, default=sys.maxsize, help="samples of each data set")
    count = parser.parse_args().count
    exit_code = 0
    for check in CHECKS:
        found = agreement(check, count)
        print(f"{check.expected}: {found.agreeing} of {found.total} as recorded", flush=True)
        if found.agreeing < found.total:
            exit_code = 4
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
