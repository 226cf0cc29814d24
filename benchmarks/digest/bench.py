"""One row of the headline table: a network on the whole road, from scores to the measured file."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.digest.reductions import DEVICES, Reductions
from benchmarks.digest.subjects import Subject
from benchmarks.measuring import Candidate, file_stem
from benchmarks.onnx_files import write_float_onnx
from benchmarks.results import BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.costs import cost_table
from sigmaquant.devices import DeviceProfile, load_profile, load_runtime
from sigmaquant.export import export_onnx
from sigmaquant.export.half_precision import with_half_precision
from sigmaquant.export.onnx.graph import serialize
from sigmaquant.export.onnx.model import build_model
from sigmaquant.export.onnx.parameters import stored_parameter_bytes
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.onnx.weights import stored_weight_bytes
from sigmaquant.finetune import finetune
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

FLOAT_VARIANT, VENDOR_VARIANT = "fp32", "vendor int8"

_FLOAT_BITS, _INT8_BITS = 32, 8
_SEED = 0
_CODED_RUNTIME = "onnxruntime-coded"
_TURNS = 3  # of search and rounding, until the code fits closely
_MOST_TURNS = 8  # until it fits at all
_CLOSE = 0.995  # of what is allowed
_AIM = 0.998  # a little below it


class HeadlineBench:
    """One network with its data.

    Args:
        subject: the network and its samples.
        folder: for files.
        rounding: of weights, in scores and in searched plans.
    """

    def __init__(self, subject: Subject, folder: Path, rounding: str = "compensated") -> None:
        self.subject = subject
        self._folder = folder
        self._rounding = rounding
        folder.mkdir(parents=True, exist_ok=True)
        watch = Stopwatch()
        with watch.stage("capture"):
            example = torch.zeros(2, *subject.input_shape)
            whole = capture(subject.module, example)
            self.network: Network = whole.with_float_layers(subject.float_layers)
            self._float_weight_bytes = whole.table.weights * _FLOAT_BITS // 8
        self._capture_seconds = watch.seconds

    @functools.cached_property
    def _reductions(self) -> Reductions:
        return Reductions(self.network.table)

    @functools.cached_property
    def _timed_scores(self) -> tuple[SensitivityTable, dict[str, float]]:
        watch = Stopwatch(self._capture_seconds)
        with watch.stage("score"):
            subject = self.subject
            scores = score(
                self.network,
                subject.calibration,
                metric=subject.metric,
                rounding=self._rounding,
                loss=subject.loss,
                seed=_SEED,
            )
        return scores, watch.seconds

    def float_row(self) -> BenchRow:
        """The fp32 network in ONNX Runtime."""
        path = self._folder / "fp32.onnx"
        watch = Stopwatch()
        with watch.stage("export"):
            write_float_onnx(self.subject.module, self.subject.input_shape, path)
        with watch.stage("evaluate"):
            value = self._value(path)
        return BenchRow(
            network=self.subject.name,
            variant=FLOAT_VARIANT,
            metric=self.subject.test.metric,
            value=value,
            float_value=value,
            weight_bits_mean=_FLOAT_BITS,
            flash_bytes=self._float_weight_bytes,
            memory_reduction=1.0,
            file_bytes=path.stat().st_size,
            seconds=watch.seconds,
            samples=len(self.subject.test.inputs),
        )

    def vendor_row(self, baseline: BenchRow) -> BenchRow | None:
        """The makers' int8 file in LiteRT; None where there is none."""
        vendor = self.subject.vendor
        if vendor is None:
            return None
        watch = Stopwatch()
        with watch.stage("evaluate"):
            value = self.subject.test.worth(vendor.outputs())
        return BenchRow(
            network=self.subject.name,
            variant=VENDOR_VARIANT,
            metric=self.subject.test.metric,
            value=value,
            float_value=baseline.value,
            weight_bits_mean=_INT8_BITS,
            file_bytes=vendor.file_bytes,
            seconds=watch.seconds,
            samples=len(self.subject.test.inputs),
        )

    def uniform(self, variant: str, bits: int, rounding: str) -> Candidate:
        """The same width everywhere, without training."""
        plan = BitPlan.uniform(self.network.table, bits)
        return self._rounded(variant, plan, rounding, self._capture_seconds)

    def mixed(self, variant: str, reduction: float) -> Candidate:
        """The exact plan for a part of the fp32 weights' bytes, without training."""
        scores, seconds = self._timed_scores
        budget = Budget(flash=int(self._float_weight_bytes / reduction))
        watch = Stopwatch(seconds)
        with watch.stage("search"):
            plan = search(scores, self._reductions.costs, budget).plan
        return self._rounded(variant, plan, self._rounding, watch.seconds)

    def coded(self, variant: str, reduction: float) -> Candidate:
        """The exact plan for weights in code, without training.

        How long the code gets is known exactly once weights are rounded. Where they do not fit, or
        leave room, the plan is searched again with a budget that makes up for it; the largest that
        fits is kept.
        Beside a makers' file the file as a whole has to fit into half of its bytes.
        """
        scores, seconds = self._timed_scores
        expected = allowed = int(self._float_weight_bytes / reduction)
        size, vendor = self._coded_bytes, self.subject.vendor
        if vendor is not None:
            size, allowed = _coded_file_bytes, vendor.file_bytes // 2
        costs = cost_table(self.network.table, _coded_profile(), scores)
        watch = Stopwatch(seconds)
        fitting: dict[int, Candidate] = {}
        for turn in range(1, _MOST_TURNS + 1):
            with watch.stage("search"):
                plan = search(scores, costs, Budget(flash=expected)).plan
            candidate = self._rounded(variant, plan, self._rounding, watch.seconds)
            watch, taken = Stopwatch(candidate.seconds), size(candidate)
            if taken <= allowed:
                fitting[taken] = candidate
            if fitting and (turn >= _TURNS or max(fitting) >= _CLOSE * allowed):
                break
            expected += int(_AIM * allowed) - taken
        assert fitting, f"{variant}: {taken:,} bytes of code, {allowed:,} allowed"
        largest = fitting[max(fitting)]
        return replace(largest, seconds=watch.seconds, coded=True)

    def trained(self, variant: str, start: Candidate) -> Candidate:
        """Fine-tuned as the subject says."""
        training = self.subject.training
        watch = Stopwatch(start.seconds)
        with watch.stage("finetune"):
            tuned = finetune(
                self.network,
                start.quantized.plan,
                training.loader(),
                epochs=training.epochs,
                start=start.quantized,
                validation=training.held_back or self.subject.calibration,
                loss=self.subject.loss,
                learning_rate=training.learning_rate,
                seed=_SEED,
            )
        return Candidate(variant, tuned, watch.seconds)

    def measured(self, candidate: Candidate, baseline: BenchRow) -> BenchRow:
        """Export, verify and measure a candidate.

        Raises:
            VerificationError: the file does not compute what the integer reference computes.
        """
        test, plan = self.subject.test, candidate.quantized.plan
        watch = Stopwatch(candidate.seconds)
        path = self._folder / f"{file_stem(candidate.variant)}.onnx"
        with watch.stage("lower"):
            program = lower(candidate.quantized)
        with watch.stage("export"):
            (name,) = program.inputs
            inputs = {name: test.inputs[: test.verified]}
            export_onnx(program, path, inputs, coded=candidate.coded)
        with watch.stage("evaluate"):
            value = self._value(path)
        flash_bytes = int(self._reductions.costs.totals(plan)["flash_bytes"])
        if candidate.coded:
            flash_bytes = self._coded_bytes(candidate)
        return BenchRow(
            network=self.subject.name,
            variant=candidate.variant,
            metric=test.metric,
            value=value,
            float_value=baseline.value,
            weight_bits_mean=plan.mean_weight_bits(self.network.table),
            flash_bytes=flash_bytes,
            memory_reduction=self._float_weight_bytes / flash_bytes,
            file_bytes=path.stat().st_size,
            cost_reductions=self._reductions.of(plan),
            seconds=watch.seconds,
            samples=len(test.inputs),
            weight_bits=plan.weight_bits,
        )

    def _rounded(
        self, variant: str, plan: BitPlan, rounding: str, seconds: Mapping[str, float]
    ) -> Candidate:
        watch = Stopwatch(seconds)
        with watch.stage("quantize"):
            subject = self.subject
            quantized = quantize(
                self.network,
                plan,
                subject.calibration,
                rounding=rounding,
                mirrored=subject.mirrored,
            )
        return Candidate(variant, quantized, watch.seconds)

    def _coded_bytes(self, candidate: Candidate) -> int:
        """Weights in code, scales and biases, and parameters that stay float."""
        program = with_half_precision(lower(candidate.quantized))
        return (
            stored_weight_bytes(program.weights, coded=True)
            + stored_parameter_bytes(program, coded=True)
            + self._reductions.costs.fixed.flash_bytes
        )

    def _value(self, path: Path) -> float:
        test, session = self.subject.test, OnnxRuntimeNetwork(path)
        starts: Sequence[int] = range(0, len(test.inputs), test.batch)
        found = [test.output(session(test.inputs[start : start + test.batch])) for start in starts]
        return test.worth(np.concatenate(found))


def _coded_file_bytes(candidate: Candidate) -> int:
    program = with_half_precision(lower(candidate.quantized))
    return len(serialize(build_model(program, coded=True)))


def _coded_profile() -> DeviceProfile:
    """A device with weights in code, and of the file's graph no bytes."""
    runtime = load_runtime(_CODED_RUNTIME)
    assert runtime.code is not None
    overhead = runtime.overhead.model_copy(update={"step_bytes": 0, "file_bytes": 0})
    code = runtime.code.model_copy(update={"operator_bytes": 0})
    bare = runtime.model_copy(update={"overhead": overhead, "code": code})
    return load_profile(DEVICES[-1]).with_runtime(bare)
