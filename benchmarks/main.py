"""The main benchmark: CIFAR-10 networks on the whole road, from fp32 to a file a tenth its size.

``python -m benchmarks.main [--quick] [--networks resnet20,resnet8] [--resume]``. Rows are written
after each measurement; ``--resume`` keeps those of an earlier run with the same command, versions,
machine and seed. ``--quick`` shows in minutes that all stages work; its figures mean nothing and go
to ``runs/``.
"""

from __future__ import annotations

import argparse
import shutil
import sys

import torch

from benchmarks.arguments import names_of
from benchmarks.assets import PROJECT_ROOT
from benchmarks.cifar_bench import CifarBench, Settings
from benchmarks.recording import Recorder, begin
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from sigmaquant.errors import SigmaQuantError

NETWORKS = ("resnet20", "resnet56", "resnet8")
QUICK_NETWORKS = ("resnet20",)
UNIFORM_BITS = (8, 4, 3)
ROUNDINGS = ("nearest", "compensated")
DIVISORS = (8, 10)

FULL = Settings()
QUICK = Settings(
    calibration_images=100,
    test_images=500,
    training_images=500,
    epochs=1,
    latency_rounds=50,
)

_RUNS = PROJECT_ROOT / "runs" / "bench"


def bench_network(bench: CifarBench, recorder: Recorder) -> None:
    """Measure every variant of one network that is not recorded yet."""
    baseline = recorder.row(bench.name, "fp32", bench.meter.float_row)
    for bits in UNIFORM_BITS:
        for rounding in ROUNDINGS:
            _bench_uniform(bench, recorder, baseline, bits, rounding)
    for divisor in DIVISORS:
        _bench_greedy(bench, recorder, baseline, divisor)


def _bench_uniform(
    bench: CifarBench, recorder: Recorder, baseline: BenchRow, bits: int, rounding: str
) -> None:
    variant = f"uniform {bits} {rounding}"
    recorder.row(
        bench.name,
        variant,
        lambda: bench.meter.measured(bench.uniform(variant, bits, rounding), baseline),
    )


def _bench_greedy(bench: CifarBench, recorder: Recorder, baseline: BenchRow, divisor: int) -> None:
    untrained = f"greedy 1/{divisor}"
    trained = f"{untrained} + {bench.settings.epochs} epochs"
    if recorder.has(bench.name, untrained) and recorder.has(bench.name, trained):
        return
    start = bench.greedy(untrained, divisor)
    recorder.row(bench.name, untrained, lambda: bench.meter.measured(start, baseline))
    recorder.row(
        bench.name, trained, lambda: bench.meter.measured(bench.trained(trained, start), baseline)
    )


def run(networks: tuple[str, ...], *, quick: bool, resume: bool) -> None:
    """Measure and write all rows of these networks."""
    settings = QUICK if quick else FULL
    name = "main-quick" if quick else "main"
    command = "python -m benchmarks.main --quick" if quick else "make bench BENCH=main"
    folder = _RUNS if quick else RESULTS_FOLDER
    result = begin(BenchResult.begin(name, command, settings.seed), folder, resume)
    recorder = Recorder(result, folder)
    if not result.rows:
        shutil.rmtree(_RUNS / name, ignore_errors=True)
    for network in networks:
        torch.manual_seed(settings.seed)
        bench_network(CifarBench(network, settings, _RUNS / name / network), recorder)
    print(f"rows are in {folder / name}.json")


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.main", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few images of ResNet-20 only")
    parser.add_argument("--networks", type=names_of(NETWORKS), help=f"out of {','.join(NETWORKS)}")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    options = parser.parse_args()
    networks = options.networks or (QUICK_NETWORKS if options.quick else NETWORKS)
    try:
        run(networks, quick=options.quick, resume=options.resume)
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
