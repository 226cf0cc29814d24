"""Plans, files and measurements of one network, target by target."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.deployment.subjects import Subject
from benchmarks.deployment.targets import DEVICE, Target
from benchmarks.measuring import METRIC
from benchmarks.networks import NETWORKS, load_network
from benchmarks.onnx_files import write_float_onnx
from benchmarks.results import BenchRow
from benchmarks.stopwatch import Stopwatch, interleaved_ms
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.devices import load_profile
from sigmaquant.errors import InfeasibleError
from sigmaquant.export.formats import FORMATS, Runner
from sigmaquant.export.heads import with_integer_heads
from sigmaquant.export.onnx.model import write_onnx
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.verification import Verification
from sigmaquant.lowering import IntegerProgram, lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

INT8 = "int8"
FLOAT_VARIANT = "fp32"
VENDOR_VARIANT = "vendor int8"

_SEED = 0
_TIMING_SECONDS, _FEWEST_ROUNDS = 45, 3
_FLOAT_BITS, _INT8_BITS = 32, 8

Hits = npt.NDArray[np.bool_]


class DeployBench:
    """One network on all targets.

    Args:
        subject: the network and its samples.
        folder: for files and scores; what an earlier run left there is used.
        latency_rounds: timed calls of each file.
    """

    def __init__(self, subject: Subject, folder: Path, latency_rounds: int) -> None:
        self.name = subject.name
        self._subject = subject
        self._folder = folder
        self._rounds = latency_rounds
        entry = NETWORKS[subject.name]
        self._example = entry.input_shape
        self._network: Network = capture(
            load_network(subject.name), torch.zeros(2, *entry.input_shape)
        )
        folder.mkdir(parents=True, exist_ok=True)

    def float_row(self) -> BenchRow:
        """The fp32 network in ONNX Runtime."""
        path = self._folder / "fp32.onnx"
        watch = Stopwatch()
        with watch.stage("evaluate"):
            write_float_onnx(load_network(self.name), self._example, path)
            value = _percent(self._hits(OnnxRuntimeNetwork(path)))
        size = path.stat().st_size
        return self._row(FLOAT_VARIANT, value, watch, weight_bits_mean=_FLOAT_BITS, file_bytes=size)

    def vendor_row(self, baseline: BenchRow) -> BenchRow | None:
        """The makers' int8 file in LiteRT; None where there is none."""
        vendor = self._subject.vendor
        if vendor is None:
            return None
        watch = Stopwatch()
        with watch.stage("evaluate"):
            value = vendor.top1_percent(self._subject.test.labels)
        row = self._row(
            VENDOR_VARIANT, value, watch, weight_bits_mean=_INT8_BITS, file_bytes=vendor.file_bytes
        )
        return row.model_copy(update={"float_value": baseline.value})

    @property
    def int8(self) -> BitPlan:
        """8 bits everywhere."""
        return BitPlan.uniform(self._network.table, _INT8_BITS)

    def mixed(self, target: Target, mean_bits: float) -> BitPlan | None:
        """The exact plan in the bytes of so many bits a weight; None where the target has none."""
        saved = self._network.table.weights * (_INT8_BITS - mean_bits) / 8
        return self.within(target, self._costs(target).totals(self.int8)["flash_bytes"] - saved)

    def within(self, target: Target, file_bytes: float) -> BitPlan | None:
        """The exact plan of a file of that size; None where the target has none so small."""
        try:
            return search(self._scores, self._costs(target), Budget(flash=int(file_bytes))).plan
        except InfeasibleError:
            return None

    def target_row(
        self, target: Target, variant: str, plan: BitPlan, baseline: BenchRow
    ) -> BenchRow:
        """A plan's file on its target: size, accuracy beside the reference's, time beside int8's.

        Raises:
            VerificationError: the file does not compute what the integer reference computes.
        """
        watch = Stopwatch()
        with watch.stage("export"):
            verification = self._exported(target, variant, plan)
            int8_path = self._int8_path(target)
        path = self._folder / target.file_name(variant)
        runner = target.open(path)
        count = self._subject.interpreted if target.interprets else None
        with watch.stage("evaluate"):
            hits = self._hits(runner, count)
        reference = self._reference_hits(target, plan)[: len(hits)]
        with watch.stage("time"):
            int8_ms, own_ms = self._times_ms(target, target.open(int8_path), runner)
        totals = self._costs(target).totals(plan)
        row = self._row(
            f"{variant} {target.name}",
            _percent(hits),
            watch,
            weight_bits_mean=plan.mean_weight_bits(self._network.table),
            file_bytes=verification.file_bytes,
        )
        return row.model_copy(
            update={
                "float_value": baseline.value,
                "reference_value": _percent(reference),
                "flash_bytes": int(totals["flash_bytes"]),
                "float_file_bytes": baseline.file_bytes,
                "latency_ms": own_ms,
                "latency_ratio_int8": own_ms / int8_ms,
                "ram_bytes": verification.ram_bytes,
                "predicted_ram_bytes": int(totals["peak_ram_bytes"] - self._reserve(target)),
                "samples": len(hits),
                "threads": 1,
                "weight_bits": plan.weight_bits,
            }
        )

    def _row(
        self,
        variant: str,
        value: float,
        watch: Stopwatch,
        *,
        weight_bits_mean: float,
        file_bytes: int,
    ) -> BenchRow:
        return BenchRow(
            network=self.name,
            variant=variant,
            metric=METRIC,
            value=value,
            float_value=value,
            weight_bits_mean=weight_bits_mean,
            file_bytes=file_bytes,
            seconds=watch.seconds,
            samples=len(self._subject.test.labels),
        )

    @functools.cached_property
    def _scores(self) -> SensitivityTable:
        path = self._folder / "scores.json"
        if path.is_file():
            return SensitivityTable.load(path)
        scores = score(self._network, self._subject.calibration, seed=_SEED)
        scores.save(path)
        return scores

    def _costs(self, target: Target) -> CostTable:
        return cost_table(self._network.table, load_profile(DEVICE, target.name))

    def _reserve(self, target: Target) -> int:
        return self._costs(target).ram_reserve_bytes

    def _exported(self, target: Target, variant: str, plan: BitPlan) -> Verification:
        program, path = self._program(plan), self._folder / target.file_name(variant)
        export = FORMATS[target.file_format].export
        return export(program, path, self._verified(program), target.options)

    def _verified(self, program: IntegerProgram) -> dict[str, npt.NDArray[np.float32]]:
        """Calibration samples: they give float results their range, which test samples may not."""
        (name,) = program.inputs
        (inputs,) = self._subject.calibration[0].inputs
        return {name: inputs[: self._subject.test.verified].numpy()}

    def _int8_path(self, target: Target) -> Path:
        path = self._folder / target.file_name(INT8)
        if not path.exists():
            self._exported(target, INT8, self.int8)
        return path

    def _program(self, plan: BitPlan) -> IntegerProgram:
        key = _key(plan)
        if key not in self._programs:
            self._programs[key] = lower(
                quantize(self._network, plan, self._subject.calibration, rounding="compensated")
            )
        return self._programs[key]

    @functools.cached_property
    def _programs(self) -> dict[tuple[int, ...], IntegerProgram]:
        return {}

    def _reference_hits(self, target: Target, plan: BitPlan) -> Hits:
        """Of the integer reference of the file: ONNX Runtime's results are equal to its."""
        program, path = self._program(plan), self._folder / "reference.onnx"
        if FORMATS[target.file_format].needs_data:
            program = with_integer_heads(program, self._verified(program))
        write_onnx(program, path)
        return self._hits(OnnxRuntimeNetwork(path))

    def _hits(self, runner: Runner, count: int | None = None) -> Hits:
        """Which of the first ``count`` test samples, or of all, are told right."""
        data = self._subject.test
        labels = data.labels[:count]
        found = [
            runner(data.inputs[start : min(start + data.batch, len(labels))])[0].argmax(1)
            for start in range(0, len(labels), data.batch)
        ]
        return np.concatenate(found) == labels

    def _times_ms(self, target: Target, *runners: Runner) -> list[float]:
        """Median time of one sample in each file, taking turns; slow files take fewer."""
        sample = self._subject.test.inputs[: target.timed_samples]
        calls = [functools.partial(runner, sample) for runner in runners]
        once_s = sum(interleaved_ms(calls, warm_up=0, rounds=1)) / 1e3
        rounds = min(self._rounds, max(_FEWEST_ROUNDS, int(_TIMING_SECONDS / once_s)))
        times = interleaved_ms(calls, warm_up=max(1, rounds // 10), rounds=rounds)
        return [time / len(sample) for time in times]


def _key(plan: BitPlan) -> tuple[int, ...]:
    return tuple(plan.weight_bits.values())


def _percent(hits: Hits) -> float:
    return 100 * float(hits.mean())
