"""Sensitivity metrics beside each other: time, and agreement with the measured loss.

``python -m benchmarks.scores [--networks resnet20,resnet56]``. 256 training images of CIFAR-10; all
metrics in one process, one after the other.
"""

from __future__ import annotations

import argparse
import sys

import torch
from scipy import stats

from benchmarks import assets
from benchmarks.arguments import names_of
from benchmarks.networks import NETWORKS, load_network
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.errors import SigmaQuantError
from sigmaquant.network import Network, capture
from sigmaquant.scores import SensitivityTable
from sigmaquant.sensitivity import score

NAMES = ("resnet20", "resnet56")
METRICS = ("taylor", "loss")
REFERENCE = "loss"

_IMAGES = 256
_BATCH = 128
_SEED = 0


def rows_of(name: str) -> list[BenchRow]:
    """One row a metric; the value is the rank correlation with the reference's scores."""
    entry = NETWORKS[name]
    network = capture(load_network(name), torch.zeros(2, *entry.input_shape))
    images = entry.prepare(assets.cifar10("train", _IMAGES).images).split(_BATCH)
    score(network, images[:1])  # what only the first call pays is nobody's
    tables: dict[str, SensitivityTable] = {}
    seconds: dict[str, dict[str, float]] = {}
    for metric in METRICS:
        watch = Stopwatch()
        with watch.stage("score"):
            tables[metric] = score(network, images, metric=metric, seed=_SEED)
        seconds[metric] = watch.seconds
    return [
        BenchRow(
            network=name,
            variant=metric,
            metric="rank_correlation",
            value=_rank_correlation(network, tables[metric], tables[REFERENCE]),
            float_value=1.0,
            seconds=seconds[metric],
            samples=_IMAGES,
        )
        for metric in METRICS
    ]


def _rank_correlation(network: Network, one: SensitivityTable, other: SensitivityTable) -> float:
    """Spearman's, over all layers and widths."""
    pairs = [
        (layer.name, bits) for layer in network.table.layers for bits in one.scores[layer.name]
    ]
    rises = [[table.rise(layer, bits) for layer, bits in pairs] for table in (one, other)]
    return float(stats.spearmanr(*rises).statistic)


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores", description=__doc__)
    parser.add_argument(
        "--networks", type=names_of(NAMES), default=NAMES, help=f"out of {','.join(NAMES)}"
    )
    options = parser.parse_args()
    result = BenchResult.begin("scores", "make bench BENCH=scores", _SEED)
    try:
        for name in options.networks:
            for row in rows_of(name):
                result = result.with_row(row)
                result.save(RESULTS_FOLDER)
                print(f"{name:10} {row.variant:8} {row.seconds['score']:7.1f} s  {row.value:.3f}")
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
