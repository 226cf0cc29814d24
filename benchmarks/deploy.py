"""The deploy benchmark: files of every format, run where they belong.

``python -m benchmarks.deploy [--quick] [--networks resnet8,dscnn] [--resume]``. Each network at 8
bits, at 4.5 and 3.5 bits a weight, planned for each runtime; beside them the vendors' int8 files,
and plans of files that are 1.6 times smaller than those. Rows are written after each measurement;
``--resume`` keeps those of an earlier run with the same command, versions, machine and seed.
``--quick`` shows in a minute that all stages work; its figures mean nothing and go to ``runs/``.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
from collections.abc import Callable
from typing import Protocol

import torch

from benchmarks.arguments import names_of
from benchmarks.assets import PROJECT_ROOT
from benchmarks.deployment.bench import FLOAT_VARIANT, INT8, VENDOR_VARIANT, DeployBench
from benchmarks.deployment.subjects import SUBJECTS
from benchmarks.deployment.targets import TARGETS, Target
from benchmarks.recording import Recorder, begin
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import SigmaQuantError

MIXED_BITS = (4.5, 3.5)
SMALLER_THAN_VENDOR = 1.6
QUICK_NETWORKS = ("dscnn",)
RUNTIMES = ("ai-edge-litert", "tflite-micro")

_QUICK_SAMPLES = 40
_ROUNDS, _QUICK_ROUNDS = 50, 5
_SEED = 0
_RUNS = PROJECT_ROOT / "runs" / "bench"


class Measures(Protocol):
    """What a network's bench offers, see ``DeployBench``."""

    name: str

    def float_row(self) -> BenchRow:
        """The fp32 network."""

    def vendor_row(self, baseline: BenchRow) -> BenchRow | None:
        """The makers' file, if there is one."""

    @property
    def int8(self) -> BitPlan:
        """8 bits everywhere."""

    def mixed(self, target: Target, mean_bits: float) -> BitPlan | None:
        """The widths for a target, if it has any so narrow."""

    def within(self, target: Target, file_bytes: float) -> BitPlan | None:
        """The widths for a file of that size, if the target has any so small."""

    def target_row(
        self, target: Target, variant: str, plan: BitPlan, baseline: BenchRow
    ) -> BenchRow:
        """A plan's file on its target."""


def bench_network(bench: Measures, recorder: Recorder) -> None:
    """Measure every file of one network that is not recorded yet."""
    baseline = recorder.row(bench.name, FLOAT_VARIANT, bench.float_row)
    vendor = recorder.result.row(bench.name, VENDOR_VARIANT) or bench.vendor_row(baseline)
    if vendor is not None:
        recorder.row(bench.name, VENDOR_VARIANT, lambda: vendor)
    for target in TARGETS:
        for variant, make in _plans(bench, target, vendor).items():
            name = f"{variant} {target.name}"
            if recorder.has(bench.name, name):
                continue
            plan = make()
            if plan is None:
                print(f"{bench.name:10} {name}: it stores no weights so narrow", flush=True)
                continue
            measure = functools.partial(bench.target_row, target, variant, plan, baseline)
            recorder.row(bench.name, name, measure)


def _plans(
    bench: Measures, target: Target, vendor: BenchRow | None
) -> dict[str, Callable[[], BitPlan | None]]:
    """What gives the plan, by the variant's name."""
    plans: dict[str, Callable[[], BitPlan | None]] = {INT8: lambda: bench.int8}
    for bits in MIXED_BITS:
        plans[f"mixed {bits:.1f}"] = functools.partial(bench.mixed, target, bits)
    if vendor is not None and vendor.file_bytes is not None:
        size = vendor.file_bytes / SMALLER_THAN_VENDOR
        plans[f"vendor/{SMALLER_THAN_VENDOR}"] = functools.partial(bench.within, target, size)
    return plans


def run(networks: tuple[str, ...], *, quick: bool, resume: bool) -> None:
    """Measure and write all rows of these networks."""
    name = "deploy-quick" if quick else "deploy"
    command = "python -m benchmarks.deploy --quick" if quick else "make bench BENCH=deploy"
    folder = _RUNS if quick else RESULTS_FOLDER
    fresh = BenchResult.begin(name, command, _SEED, measured_with=RUNTIMES)
    recorder = Recorder(begin(fresh, folder, resume), folder)
    if not recorder.result.rows:
        shutil.rmtree(_RUNS / name, ignore_errors=True)
    for network in networks:
        torch.manual_seed(_SEED)
        subject = SUBJECTS[network](_QUICK_SAMPLES if quick else None)
        rounds = _QUICK_ROUNDS if quick else _ROUNDS
        bench_network(DeployBench(subject, _RUNS / name / network, rounds), recorder)
    print(f"rows are in {folder / name}.json")


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few samples of DS-CNN only")
    parser.add_argument("--networks", type=names_of(SUBJECTS), help=f"of {','.join(SUBJECTS)}")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    options = parser.parse_args()
    networks = options.networks or (QUICK_NETWORKS if options.quick else tuple(SUBJECTS))
    try:
        run(networks, quick=options.quick, resume=options.resume)
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
