"""The rivals benchmark: SigmaQuant beside MCT, ModelOpt and AIMET.

``python -m benchmarks.rivals [--quick] [--networks digits,resnet20] [--tools mct,modelopt]
[--seeds 0,1,2] [--resume]``. Rows are written after each measurement; ``--resume`` keeps those of
an earlier run with the same versions and machine, so that networks, tools and seeds can be
measured one at a time. Each rival's environment is made when it is first needed. ``--quick`` shows
in minutes that everything works; its figures mean nothing and go to ``runs/``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Collection
from dataclasses import replace

from benchmarks.arguments import names_of
from benchmarks.assets import PROJECT_ROOT
from benchmarks.recording import Recorder, begin
from benchmarks.results import RESULTS_FOLDER, BenchResult
from benchmarks.rivals.bench import NetworkBench, Settings
from benchmarks.rivals.subjects import SUBJECTS
from benchmarks.rivals.tools import RIVALS, rival_versions
from sigmaquant.errors import SigmaQuantError

FULL = Settings()
QUICK = Settings(budgets_bits=(3.0,), draws=(0,), test_samples=200)
QUICK_NETWORKS = ("digits",)

_RUNS = PROJECT_ROOT / "runs" / "rivals"


def run(
    networks: Collection[str],
    tools: Collection[str],
    settings: Settings,
    *,
    quick: bool,
    resume: bool,
) -> None:
    """Measure and write all rows of these networks, tools and draws."""
    name = "rivals-quick" if quick else "rivals"
    command = "python -m benchmarks.rivals --quick" if quick else "make bench BENCH=rivals"
    folder = _RUNS if quick else RESULTS_FOLDER
    fresh = BenchResult.begin(name, command, seed=0)
    fresh = fresh.model_copy(update={"versions": {**fresh.versions, **rival_versions()}})
    recorder = Recorder(begin(fresh, folder, resume), folder)
    for network in networks:
        files = _RUNS / name / network
        shutil.rmtree(files, ignore_errors=True)
        subject = SUBJECTS[network](settings.test_samples)
        NetworkBench(subject, settings, recorder, files).run(RIVALS[tool] for tool in tools)
    print(f"rows are in {folder / name}.json")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 0,1,2") from None


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one budget and draw, digits only")
    parser.add_argument("--networks", type=names_of(SUBJECTS), help=f"out of {','.join(SUBJECTS)}")
    parser.add_argument(
        "--tools", type=names_of(RIVALS), default=tuple(RIVALS), help=f"out of {','.join(RIVALS)}"
    )
    parser.add_argument("--seeds", type=_seeds, help="of the draws of calibration samples")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    options = parser.parse_args()
    settings = QUICK if options.quick else FULL
    if options.seeds:
        settings = replace(settings, draws=options.seeds)
    networks = options.networks or (QUICK_NETWORKS if options.quick else tuple(SUBJECTS))
    try:
        run(networks, options.tools, settings, quick=options.quick, resume=options.resume)
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
