"""The emulation benchmark: MLPerf Tiny's networks as C libraries on emulated processors.

``python -m benchmarks.emulated [--networks resnet8] [--cores cortex-m4] [--resume]``. Each network
is exported at 8 bits and at two mixed plans; each library is built for each core, compared with the
integer reference on real inputs, and counted layer by layer. What its layers take is compared with
the cost table of the shipped profile of a part with this core.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from benchmarks import assets
from benchmarks.arguments import names_of
from benchmarks.assets import PROJECT_ROOT
from benchmarks.networks import NETWORKS, load_network
from benchmarks.recording import Recorder, begin
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.devices import DeviceProfile, load_profile
from sigmaquant.devices.evidence import Evidence
from sigmaquant.devices.latency_models import CyclesModel, WeightFetch
from sigmaquant.errors import SigmaQuantError
from sigmaquant.export import export_c
from sigmaquant.export.c.manifest import Manifest
from sigmaquant.lowering import lower, run_reference
from sigmaquant.network import capture
from sigmaquant.profiling.cores import CORES, core_named
from sigmaquant.profiling.cross_compiler import find_cross_compiler
from sigmaquant.profiling.verification import EmulatedVerification, verify_emulated
from sigmaquant.quantized import quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

COMMAND = "make bench BENCH=emulated"
METRIC = "cycles"
PLANS = {"int8": 8.0, "mixed 4.0": 4.0, "mixed 3.0": 3.0}
"""Mean bits of a weight by name."""

PLANNED_FOR = "cortex-m4"
"""Any device that stores every width packed gives the same plans."""

SCRATCH_BYTES = 64 * 576
"""For the weights of any convolution of these networks, to unpack them first."""

Array = npt.NDArray[Any]

_NATIVE_BITS = 8
_CALIBRATION_SAMPLES = 256
_TEST_SAMPLES = 32
_BATCH = 64
_SEED = 0
_RUNS = PROJECT_ROOT / "runs" / "bench" / "emulated"


@dataclass(frozen=True)
class Inputs:
    """Real inputs of a network: (n, *input_shape).

    Attributes:
        calibration: to score and quantize with.
        test: to compare on; none of them is in ``calibration``.
    """

    calibration: torch.Tensor
    test: torch.Tensor


def _resnet8() -> Inputs:
    prepare = NETWORKS["resnet8"].prepare
    train = assets.cifar10("train", _CALIBRATION_SAMPLES)
    return Inputs(prepare(train.images), prepare(assets.mlperf_images().images[:_TEST_SAMPLES]))


def _dscnn() -> Inputs:
    features = assets.mlperf_keywords().features
    prepared = NETWORKS["dscnn"].prepare(features[: _TEST_SAMPLES + _CALIBRATION_SAMPLES])
    return Inputs(prepared[_TEST_SAMPLES:], prepared[:_TEST_SAMPLES])


def _autoencoder() -> Inputs:
    """Windows of several clips: those of one are much alike."""
    frames = assets.mlperf_sounds().frames
    prepare = NETWORKS["autoencoder"].prepare
    calibration, test = prepare(frames[8:24]), prepare(frames[:8])
    return Inputs(
        calibration[:: len(calibration) // _CALIBRATION_SAMPLES][:_CALIBRATION_SAMPLES],
        test[:: len(test) // _TEST_SAMPLES][:_TEST_SAMPLES],
    )


INPUTS: dict[str, Callable[[], Inputs]] = {
    "resnet8": _resnet8,
    "dscnn": _dscnn,
    "autoencoder": _autoencoder,
}
"""By network."""


@dataclass(frozen=True)
class Library:
    """An exported network.

    Attributes:
        folder: its files.
        plan: its widths.
        inputs: (n, *shape) by name, to compare on.
        outputs: what the integer reference computes from them.
    """

    folder: Path
    plan: BitPlan
    inputs: dict[str, Array]
    outputs: dict[str, Array]


def profile_at_once(core: str) -> DeviceProfile:
    """The core's shipped profile with that scratch, for memory that answers at once."""
    profile = load_profile(core)
    assert isinstance(profile.latency, CyclesModel), "these profiles are in cycles"
    at_once = WeightFetch(cycles_per_byte=0, source="the emulator", kind=Evidence.EMULATED)
    latency = profile.latency.model_copy(update={"weight_fetch": at_once})
    ram_bytes = profile.reserve.ram_bytes + SCRATCH_BYTES
    scratch = {"ram_bytes": ram_bytes, "weight_scratch_bytes": SCRATCH_BYTES}
    reserve = profile.reserve.model_copy(update=scratch)
    return profile.model_copy(update={"latency": latency, "reserve": reserve})


class EmulatedBench:
    """One network, captured and scored once.

    Args:
        name: in the catalogue of networks.
        folder: for its libraries.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._inputs = INPUTS[name]()
        self._calibration = tuple(Batch((part,)) for part in self._inputs.calibration.split(_BATCH))
        self._network = capture(load_network(name), self._inputs.calibration[:2])

    @functools.cached_property
    def _scores(self) -> SensitivityTable:
        return score(self._network, self._calibration, seed=_SEED)

    def _plan(self, mean_bits: float) -> BitPlan:
        """The exact plan whose weights have so many bits on average, whatever the core."""
        table = self._network.table
        costs, eight = cost_table(table, load_profile(PLANNED_FOR)), BitPlan.uniform(table, 8)
        if mean_bits == _NATIVE_BITS:
            return eight
        full = costs.totals(eight)["flash_bytes"]
        budget = Budget(flash=int(full - table.weights * (8 - mean_bits) / 8))
        return search(self._scores, costs, budget).plan

    @functools.cache  # noqa: B019  (as many as there are plans)
    def library(self, plan_name: str) -> Library:
        """The network as a C library, which agrees with the reference on this machine."""
        plan = self._plan(PLANS[plan_name])
        record = lower(quantize(self._network, plan, self._calibration))
        (name,) = record.inputs
        inputs = {name: self._inputs.test.numpy()}
        folder = self._folder / plan_name.replace(" ", "_")
        export_c(record, folder, inputs, SCRATCH_BYTES)
        return Library(folder, plan, inputs, run_reference(record, inputs))

    def row(self, plan_name: str, core: str, profile: DeviceProfile) -> BenchRow:
        """One library on one core, beside what the profile says of its plan."""
        watch = Stopwatch()
        with watch.stage("export"):
            library = self.library(plan_name)
        with watch.stage("emulate"):
            found = verify_emulated(
                library.folder,
                core_named(core),
                find_cross_compiler(),
                library.inputs,
                library.outputs,
            )
        table, costs = self._network.table, cost_table(self._network.table, profile)
        totals = costs.totals(library.plan)
        bits = library.plan.weight_bits
        manifest = Manifest.load(library.folder / "model.json")
        return BenchRow(
            network=self.name,
            variant=f"{plan_name} on {core}",
            metric=METRIC,
            value=found.count.cycles,
            float_value=None,
            weight_bits_mean=sum(la.weights * bits[la.name] for la in table.layers) / table.weights,
            flash_bytes=int(totals["flash_bytes"]),
            file_bytes=found.text_bytes + found.data_bytes,
            seconds=watch.seconds,
            samples=found.outputs.samples,
            weight_bits=dict(bits),
            ram_bytes=manifest.arena_bytes,
            predicted_ram_bytes=arena_bytes(costs, library.plan),
            largest_difference=found.outputs.largest_difference,
            layer_cycles=_by_layer(found),
            predicted_layer_cycles=_predicted_cycles(costs, library.plan, profile),
        )


def arena_bytes(costs: CostTable, plan: BitPlan) -> int:
    """The largest step of the schedule without float values: those are the caller's."""
    return max(
        sum(
            size
            for size, group in zip(costs.tensor_bytes(plan, step), step.groups, strict=True)
            if group is not None
        )
        for step in costs.ram_steps
    )


def _by_layer(found: EmulatedVerification) -> dict[str, int]:
    """Cycles of each layer, over all places where it is used."""
    cycles: Counter[str] = Counter()
    for step in found.steps:
        if step.step.layer is not None:
            cycles[step.step.layer] += step.count.cycles
    return dict(cycles)


def _predicted_cycles(costs: CostTable, plan: BitPlan, profile: DeviceProfile) -> dict[str, float]:
    assert profile.clock is not None, "a profile in cycles has a clock"
    per_ms = profile.clock.mhz * 1000
    return {layer: round(costs.choice(plan, layer).latency_ms * per_ms) for layer in costs.choices}


def run(networks: tuple[str, ...], cores: tuple[str, ...], *, resume: bool) -> None:
    """Measure and write all rows of these networks on these cores."""
    result = begin(BenchResult.begin("emulated", COMMAND, _SEED), RESULTS_FOLDER, resume)
    recorder = Recorder(result, RESULTS_FOLDER)
    profiles = {core: profile_at_once(core) for core in cores}
    for name in networks:
        torch.manual_seed(_SEED)
        bench = EmulatedBench(name, _RUNS / name)
        for plan_name, core in itertools.product(PLANS, cores):
            measure = functools.partial(bench.row, plan_name, core, profiles[core])
            recorder.row(name, f"{plan_name} on {core}", measure)
    print(f"rows are in {RESULTS_FOLDER / 'emulated.json'}")


def main() -> int:
    """Parse the command line and run; the exit code is the error's where one is raised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulated", description=__doc__)
    parser.add_argument("--networks", type=names_of(INPUTS), default=tuple(INPUTS))
    parser.add_argument("--cores", type=names_of(CORES), default=tuple(CORES))
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    options = parser.parse_args()
    try:
        run(options.networks, options.cores, resume=options.resume)
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
