"""The headline benchmark: the digest's table on the nearest real networks and data.

``python -m benchmarks.headline [--quick] [--networks resnet20,dscnn] [--resume]``. Each network at
several parts of its fp32 weights' bytes, without training and fine-tuned, beside uniform 4 bits and
its makers' int8 file. Rows are written after each measurement; ``--resume`` keeps those of an
earlier run with the same command, versions, machine and seed. ``--coded`` measures files with their
weights in code instead, into a table of its own. ``--quick`` shows in a minute that all stages
work; its figures go to ``runs/``.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import resource
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Protocol

import torch

from benchmarks.arguments import names_of
from benchmarks.assets import PROJECT_ROOT
from benchmarks.digest.bench import FLOAT_VARIANT, VENDOR_VARIANT, HeadlineBench
from benchmarks.digest.subjects import SUBJECTS, Subject
from benchmarks.measuring import Candidate
from benchmarks.recording import Recorder, begin
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from sigmaquant.errors import SigmaQuantError

UNIFORM_BITS = 4
ROUNDINGS = ("nearest", "compensated")
QUICK_NETWORKS = ("dscnn",)

_SEED = 0
_RUNS = PROJECT_ROOT / "runs" / "bench"


class Measures(Protocol):
    """What a network's bench offers, see ``HeadlineBench``."""

    @property
    def subject(self) -> Subject:
        """The network and its samples."""

    def float_row(self) -> BenchRow:
        """The fp32 network."""

    def vendor_row(self, baseline: BenchRow) -> BenchRow | None:
        """The makers' file, if there is one."""

    def uniform(self, variant: str, bits: int, rounding: str) -> Candidate:
        """The same width everywhere."""

    def mixed(self, variant: str, reduction: float) -> Candidate:
        """A searched plan."""

    def coded(self, variant: str, reduction: float) -> Candidate:
        """A plan for weights in code."""

    def trained(self, variant: str, start: Candidate) -> Candidate:
        """Fine-tuned."""

    def measured(self, candidate: Candidate, baseline: BenchRow) -> BenchRow:
        """A candidate's file."""


def bench_network(bench: Measures, recorder: Recorder) -> None:
    """Measure every variant of one network that is not recorded yet."""
    name, subject = bench.subject.name, bench.subject
    first = max(subject.trained)
    make = functools.partial(bench.mixed, _mixed(first), first)
    baseline = _first_rows(bench, recorder, _mixed(first), make)
    vendor = recorder.result.row(name, VENDOR_VARIANT) or bench.vendor_row(baseline)
    if vendor is not None:
        recorder.row(name, VENDOR_VARIANT, lambda: vendor)
    _measure(bench, recorder, _variants(bench), baseline)


def bench_coded(bench: Measures, recorder: Recorder) -> None:
    """Measure one network with its weights in code, at the same sizes."""
    trained, reductions = bench.subject.trained, bench.subject.reductions
    made: dict[str, Callable[[], Candidate]] = {}
    for reduction in [max(trained), *(each for each in reductions if each not in trained)]:
        variant = f"{_mixed(reduction)} coded"
        made[variant] = functools.partial(bench.coded, variant, reduction)
    first = next(iter(made))
    baseline = _first_rows(bench, recorder, first, made[first])
    _measure(bench, recorder, made, baseline)


def _first_rows(
    bench: Measures, recorder: Recorder, variant: str, make: Callable[[], Candidate]
) -> BenchRow:
    """Measure one plan and the fp32 network, whose row is returned.

    The plan is made before anything else, so that the peak memory is that of scores, search and
    rounding and not of the measurement.
    """
    name, start, peak_bytes = bench.subject.name, None, 0
    if not recorder.has(name, variant):
        start = make()
        peak_bytes = _peak_memory_bytes()
    baseline = recorder.row(name, FLOAT_VARIANT, bench.float_row)
    if start is not None:
        row = bench.measured(start, baseline)
        row = row.model_copy(update={"peak_memory_bytes": peak_bytes})
        recorder.row(name, variant, lambda: row)
    return baseline


def _measure(
    bench: Measures,
    recorder: Recorder,
    made: Mapping[str, Callable[[], Candidate]],
    baseline: BenchRow,
) -> None:
    """The rows of candidates by variant, where they are not recorded yet."""
    for variant, make in made.items():
        recorder.row(bench.subject.name, variant, functools.partial(_made, bench, make, baseline))


def _made(bench: Measures, make: Callable[[], Candidate], baseline: BenchRow) -> BenchRow:
    return bench.measured(make(), baseline)


def _variants(bench: Measures) -> dict[str, Callable[[], Candidate]]:
    """What makes each candidate, by its row's name."""
    subject = bench.subject
    made: dict[str, Callable[[], Candidate]] = {}
    for reduction in subject.reductions:
        variant = _mixed(reduction)
        made[variant] = functools.partial(bench.mixed, variant, reduction)
    for reduction in subject.trained:
        variant = f"{_mixed(reduction)} + {subject.training.epochs} epochs"
        made[variant] = functools.partial(_trained, bench, variant, reduction)
    for rounding in ROUNDINGS:
        variant = f"uniform {UNIFORM_BITS} {rounding}"
        made[variant] = functools.partial(bench.uniform, variant, UNIFORM_BITS, rounding)
    return made


def _trained(bench: Measures, variant: str, reduction: float) -> Candidate:
    return bench.trained(variant, bench.mixed(_mixed(reduction), reduction))


def _mixed(reduction: float) -> str:
    return f"mixed 1/{reduction:g}"


def _peak_memory_bytes() -> int:
    """The largest resident size of this process so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(name: str, quick: bool, coded: bool, resume: bool) -> None:
    """Measure and write all rows of one network."""
    bench_name = f"headline{'-coded' * coded}{'-quick' * quick}"
    flags = [flag for flag, on in (("--coded", coded), ("--quick", quick)) if on]
    by_hand = " ".join(["python -m benchmarks.headline", *flags])
    command = by_hand if flags else "make bench BENCH=headline"
    folder = _RUNS if quick else RESULTS_FOLDER
    fresh = BenchResult.begin(bench_name, command, _SEED, measured_with=("pycocotools",))
    recorder = Recorder(begin(fresh, folder, resume), folder)
    if not recorder.result.rows:
        shutil.rmtree(_RUNS / bench_name, ignore_errors=True)
    torch.manual_seed(_SEED)
    rounding = "coded" if coded else "compensated"
    bench = HeadlineBench(SUBJECTS[name](), _RUNS / bench_name / name, rounding)
    if coded:
        bench_coded(bench, recorder)
    else:
        bench_network(bench, recorder)


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.headline", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="DS-CNN only")
    parser.add_argument("--coded", action="store_true", help="weights in code, a table of its own")
    parser.add_argument("--networks", type=names_of(SUBJECTS), help=f"of {','.join(SUBJECTS)}")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    options = parser.parse_args()
    networks = options.networks or (QUICK_NETWORKS if options.quick else tuple(SUBJECTS))
    # What follows the first network adds to its rows.
    resumed = [options.resume, *[True] * (len(networks) - 1)]
    quick, coded = [options.quick] * len(networks), [options.coded] * len(networks)
    # A process for each network, so that each has its own peak memory.
    fresh_process = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, fresh_process, max_tasks_per_child=1) as pool:
            list(pool.map(run, networks, quick, coded, resumed))
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
