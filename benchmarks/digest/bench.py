"""One row of the headline table: a network on the whole road, from scores to the measured file."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.digest.reductions import Reductions
from benchmarks.digest.subjects import Subject
from benchmarks.measuring import Candidate, file_stem
from benchmarks.onnx_files import write_float_onnx
from benchmarks.results import BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.export import export_onnx
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.finetune import finetune
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

FLOAT_VARIANT, VENDOR_VARIANT = "fp32", "vendor int8"

_FLOAT_BITS, _INT8_BITS = 32, 8
_SEED = 0


class HeadlineBench:
    """One network with its data.

    Args:
        subject: the network and its samples.
        folder: for files.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self._folder = folder
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
        return self._rounded(variant, plan, "compensated", watch.seconds)

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
            export_onnx(program, path, {name: test.inputs[: test.verified]})
        with watch.stage("evaluate"):
            value = self._value(path)
        flash_bytes = int(self._reductions.costs.totals(plan)["flash_bytes"])
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

    def _value(self, path: Path) -> float:
        test, session = self.subject.test, OnnxRuntimeNetwork(path)
        starts: Sequence[int] = range(0, len(test.inputs), test.batch)
        found = [test.output(session(test.inputs[start : start + test.batch])) for start in starts]
        return test.worth(np.concatenate(found))
