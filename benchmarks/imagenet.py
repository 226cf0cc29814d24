"""ImageNet-sized networks without training: scores, search, rounding, and the curve they give.

``python -m benchmarks.imagenet [--networks efficientnet_lite0,mobilenetv2] [--resume]``. 300 images
calibrate, 1,000 others report.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import resource
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks import assets
from benchmarks.arguments import names_of
from benchmarks.assets import PROJECT_ROOT
from benchmarks.measuring import Candidate, FileMeter, TestData
from benchmarks.networks import NETWORKS, load_network
from benchmarks.recording import Recorder, begin
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch
from sigmaquant.errors import SigmaQuantError
from sigmaquant.network import capture
from sigmaquant.quantized import quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

NAMES = ("efficientnet_lite0", "mobilenetv2")
UNIFORM_BITS = (8, 6, 5, 4)
ROUNDINGS = ("nearest", "compensated")
MIXED_BITS = (4.0, 8.0, 6.0, 5.0, 4.5, 3.5)

_BATCH = 25
_LATENCY_ROUNDS = 60
_SEED = 0
_RUNS = PROJECT_ROOT / "runs" / "bench" / "imagenet"


class ImageNetBench:
    """One network with its calibration and test images.

    Args:
        name: in the catalogue of networks.
        folder: for the files.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._entry = NETWORKS[name]
        images = assets.imagenet("mlperf_mobile_tiny300").images
        parts = self._entry.prepare(images).split(_BATCH)
        self._calibration = tuple(Batch((part,)) for part in parts)
        watch = Stopwatch()
        with watch.stage("capture"):
            example = torch.zeros(2, *self._entry.input_shape)
            self._network = capture(load_network(name), example)
        self._capture_seconds = watch.seconds
        self.meter = FileMeter(name, self._network, self._test_data, folder, _LATENCY_ROUNDS)

    def _test_data(self) -> TestData:
        test = assets.imagenet("sample1000")
        inputs = self._entry.prepare(test.images).numpy()
        return TestData(inputs, test.labels, verified=8, batch=_BATCH)

    @functools.cached_property
    def _timed_scores(self) -> tuple[SensitivityTable, dict[str, float]]:
        watch = Stopwatch(self._capture_seconds)
        with watch.stage("score"):
            scores = score(self._network, self._calibration, seed=_SEED)
        return scores, watch.seconds

    def uniform(self, bits: int, rounding: str) -> Candidate:
        """The same width everywhere."""
        plan = BitPlan.uniform(self._network.table, bits)
        watch = Stopwatch(self._capture_seconds)
        return self._candidate(f"uniform {bits} {rounding}", plan, rounding, watch)

    def mixed(self, mean_bits: float) -> Candidate:
        """The exact plan whose weights have so many bits on average."""
        table = self._network.table
        scores, seconds = self._timed_scores
        full = self.meter.costs.totals(BitPlan.uniform(table, 8))["flash_bytes"]
        watch = Stopwatch(seconds)
        with watch.stage("search"):
            budget = Budget(flash=int(full - table.weights * (8 - mean_bits) / 8))
            plan = search(scores, self.meter.costs, budget).plan
        return self._candidate(f"mixed {mean_bits:.1f}", plan, "compensated", watch)

    def _candidate(self, variant: str, plan: BitPlan, rounding: str, watch: Stopwatch) -> Candidate:
        with watch.stage("quantize"):
            quantized = quantize(self._network, plan, self._calibration, rounding=rounding)
        return Candidate(variant, quantized, watch.seconds)


def bench_network(bench: ImageNetBench, recorder: Recorder) -> None:
    """Measure every variant of one network that is not recorded yet.

    The first mixed plan comes before anything else, so that the peak memory is that of scores,
    search and rounding and not of the measurement.
    """
    first = f"mixed {MIXED_BITS[0]:.1f}"
    candidate, peak_bytes = None, 0
    if not recorder.has(bench.name, first):
        candidate = bench.mixed(MIXED_BITS[0])
        peak_bytes = _peak_memory_bytes()
    baseline = recorder.row(bench.name, "fp32", bench.meter.float_row)
    if candidate is not None:
        row = bench.meter.measured(candidate, baseline)
        row = row.model_copy(update={"peak_memory_bytes": peak_bytes})
        recorder.row(bench.name, first, lambda: row)
    for bits in MIXED_BITS[1:]:
        _record(
            bench, recorder, baseline, f"mixed {bits:.1f}", functools.partial(bench.mixed, bits)
        )
    for bits, rounding in itertools.product(UNIFORM_BITS, ROUNDINGS):
        make = functools.partial(bench.uniform, bits, rounding)
        _record(bench, recorder, baseline, f"uniform {bits} {rounding}", make)


def _record(
    bench: ImageNetBench,
    recorder: Recorder,
    baseline: BenchRow,
    variant: str,
    make: Callable[[], Candidate],
) -> None:
    recorder.row(bench.name, variant, lambda: bench.meter.measured(make(), baseline))


def _peak_memory_bytes() -> int:
    """The largest resident size of this process so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(name: str, resume: bool) -> None:
    """Measure and write all rows of one network."""
    fresh = BenchResult.begin("imagenet", "make bench BENCH=imagenet", _SEED)
    result = begin(fresh, RESULTS_FOLDER, resume)
    if not result.rows:
        shutil.rmtree(_RUNS, ignore_errors=True)
    torch.manual_seed(_SEED)
    bench_network(ImageNetBench(name, _RUNS / name), Recorder(result, RESULTS_FOLDER))


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imagenet", description=__doc__)
    parser.add_argument(
        "--networks", type=names_of(NAMES), default=NAMES, help=f"out of {','.join(NAMES)}"
    )
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    options = parser.parse_args()
    # What follows the first network adds to its rows.
    resumed = [options.resume, *[True] * (len(options.networks) - 1)]
    # A process for each network, so that each has its own peak memory.
    fresh_process = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, fresh_process, max_tasks_per_child=1) as pool:
            list(pool.map(run, options.networks, resumed))
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
