"""The boards benchmark: latencies that profiles predict, beside those that boards measured.

``python -m benchmarks.boards``. Pure arithmetic: no network runs and no weights are needed. The
boards' figures are MLCommons' published results of MLPerf Tiny v1.1 to v1.3, in
``benchmarks/data``.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from benchmarks.assets import PROJECT_ROOT
from benchmarks.boards_table import FROM_OTHERS, UNCALIBRATED, by_prototype, from_network
from benchmarks.networks import NETWORKS
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from sigmaquant.bitplan import BitPlan
from sigmaquant.costs.calibrate import MeasuredRun, observation
from sigmaquant.costs.parts import OTHER
from sigmaquant.devices import DeviceProfile, load_profile
from sigmaquant.devices.fitting import Observation, fitted_factors
from sigmaquant.errors import SigmaQuantError
from sigmaquant.layers import LayerTable
from sigmaquant.network import capture

DATA = PROJECT_ROOT / "benchmarks" / "data"
CSV = DATA / "boards_mlperf_tiny.csv"
COMMAND = "make bench BENCH=boards"

TASKS = {"ic": "resnet8", "kws": "dscnn", "ad": "autoencoder"}
"""MLPerf Tiny's tasks. Its fourth is left out: 83 % of that network's weights are zero, and some
stacks prune them."""


@dataclass(frozen=True)
class Chip:
    """A processor with a Cortex-M4, M7 or M33, as its boards' names show it.

    Attributes:
        mark: part of the name.
        profile: shipped profile of its core, or of the nearest: kernels of the C export.
        mhz: clock at which it was measured.
    """

    mark: str
    profile: str
    mhz: float

    @property
    def prototype(self) -> str:
        """Profile of other kernels on its core, or on the nearest."""
        core = "m7" if self.profile == "cortex-m7" else "m4"
        return str(DATA / f"prototype_cortex_{core}.toml")


CHIPS = (
    Chip("L4R5", "cortex-m4", 120),
    Chip("M467", "cortex-m4", 200),
    Chip("CY8CPROTO", "cortex-m4", 150),
    Chip("H7A3", "cortex-m7", 280),
    Chip("F746", "cortex-m7", 216),
    Chip("U575", "stm32u575", 160),
    Chip("U385", "stm32u385", 96),
    Chip("NRF5340", "stm32u575", 128),
)

FLOAT_MARK = "_float"


def board_times() -> dict[str, dict[str, float]]:
    """Milliseconds by board and stack, then task: int8, on a chip of ``CHIPS``, all tasks."""
    times: dict[str, dict[str, float]] = {}
    with CSV.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["task"] in TASKS and row["lat_ms"] and FLOAT_MARK not in row["system"]:
                pair = f"{row['ver']} {row['org']} {row['system']}"
                times.setdefault(pair, {})[row["task"]] = float(row["lat_ms"])
    complete = {pair: own for pair, own in times.items() if own.keys() == TASKS.keys()}
    return {pair: own for pair, own in complete.items() if _chip(pair) is not None}


def _chip(pair: str) -> Chip | None:
    return next((chip for chip in CHIPS if chip.mark in pair), None)


def board_profile(pair: str, *, prototype: bool = False) -> DeviceProfile:
    """The profile of a board's chip, at the board's clock."""
    chip = _chip(pair)
    assert chip is not None, f"{pair} was listed without its chip"
    profile = load_profile(chip.prototype if prototype else chip.profile)
    assert profile.clock is not None, "these profiles are in cycles"
    clock = profile.clock.model_copy(update={"mhz": chip.mhz})
    return profile.model_copy(update={"clock": clock})


def layer_tables() -> dict[str, LayerTable]:
    """The networks by task; costs depend on shapes alone, so their weights are random."""
    tables = {}
    for task, name in TASKS.items():
        network = NETWORKS[name]
        example = torch.zeros(1, *network.input_shape)
        tables[task] = capture(network.build().eval(), example).table
    return tables


def board_rows(
    pair: str, times: Mapping[str, float], tables: Mapping[str, LayerTable]
) -> list[BenchRow]:
    """A row for each network that one board measured."""
    profile = board_profile(pair)
    ours = _observations(times, tables, profile)
    prototypes = _observations(times, tables, board_profile(pair, prototype=True))
    kinds = [*map(str, profile.supports), OTHER]
    core = profile.core.split()[1].removesuffix(",")
    return [
        BenchRow(
            network=name,
            variant=f"{core}: {pair}",
            metric="latency_ms",
            value=times[task],
            float_value=None,
            seconds={},
            samples=1,
            predicted_ms={
                **_predictions(task, ours, kinds),
                **{
                    by_prototype(by): found
                    for by, found in _predictions(task, prototypes, kinds).items()
                },
            },
        )
        for task, name in TASKS.items()
    ]


def _observations(
    times: Mapping[str, float], tables: Mapping[str, LayerTable], profile: DeviceProfile
) -> dict[str, Observation]:
    """By task: what was measured at 8 bits beside what the profile says."""
    return {
        task: observation(
            MeasuredRun(task, tables[task], BitPlan.uniform(tables[task], 8), times[task]), profile
        )
        for task in TASKS
    }


def _predictions(task: str, seen: Mapping[str, Observation], kinds: list[str]) -> dict[str, float]:
    """Milliseconds by calibration: with none, with each other network, with both of them."""
    others = {name: each for name, each in seen.items() if name != task}
    factors = {
        UNCALIBRATED: dict.fromkeys(kinds, 1.0),
        **{from_network(TASKS[o]): fitted_factors([each], kinds) for o, each in others.items()},
        FROM_OTHERS: fitted_factors(list(others.values()), kinds),
    }
    measured = seen[task].measured
    return {by: measured * (1 + seen[task].error(scales)) for by, scales in factors.items()}


def main() -> int:
    """Predict, compare, write the result."""
    try:
        tables = layer_tables()
        result = BenchResult.begin("boards", COMMAND, seed=0)
        for pair, times in board_times().items():
            for row in board_rows(pair, times, tables):
                result = result.with_row(row)
        print(f"{len(result.rows)} predictions: {result.save(RESULTS_FOLDER)}")
    except SigmaQuantError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
