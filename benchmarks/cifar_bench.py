"""One CIFAR-10 network on the whole road, from scores to the measured file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import assets
from benchmarks.cifar_training import training_loader
from benchmarks.networks import NETWORKS, load_network
from benchmarks.onnx_files import interleaved_latency_ms, top1_percent, write_float_onnx
from benchmarks.results import BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.artifact import Artifact
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.devices import load_profile
from sigmaquant.export import export_onnx
from sigmaquant.finetune import finetune
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork, quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

METRIC = "top1_percent"
DEVICE = "cortex-m7"  # stores every width 2..8 packed, so that flash is what the file holds
LATENCY_THREADS = 1

_LATENCY_BATCH = 32
_LEAST_ROUNDS = 30

_CALIBRATION_BATCH = 100
_TRAINING_BATCH = 128
_VERIFIED_IMAGES = 64
_FLOAT_BITS, _FLOAT_BYTES = 32, 4


@dataclass(frozen=True)
class Settings:
    """How much data and time a run takes.

    Attributes:
        calibration_images: first training images, for scores and rounding.
        test_images: first test images, to report on; None is all 9,980.
        training_images: the training images behind those, for fine-tuning.
        epochs: of fine-tuning.
        latency_rounds: timed runs of each file.
        seed: of every random draw.
    """

    calibration_images: int = 500
    test_images: int | None = None
    training_images: int = 10_000
    epochs: int = 5
    latency_rounds: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """A quantized network to be exported and measured.

    Attributes:
        variant: the row's name.
        quantized: the network.
        seconds: of the stages that made it.
    """

    variant: str
    quantized: QuantizedNetwork
    seconds: Mapping[str, float]


class TimedScores(Artifact):
    """Scores kept for a run that is killed, with the time they took."""

    scores: SensitivityTable
    seconds: float


class CifarBench:
    """A network with its data.

    Args:
        name: in the catalogue of networks.
        settings: how much data and time to take.
        folder: for exported files and scores; what an earlier run with the same settings left
            there is used.
    """

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        self.name = name
        self.settings = settings
        self.folder = folder
        self._entry = NETWORKS[name]
        test = assets.cifar10("test", settings.test_images)
        self._test_inputs: npt.NDArray[np.float32] = self._entry.prepare(test.images).numpy()
        self._test_labels = test.labels
        watch = Stopwatch()
        with watch.stage("capture"):
            example = torch.zeros(2, *self._entry.input_shape)
            self.network: Network = capture(load_network(name), example)
        self._capture_seconds = watch.seconds

    @property
    def float_weight_bytes(self) -> int:
        """Size of the quantizable weights in fp32."""
        return self.network.table.weights * _FLOAT_BYTES

    @functools.cached_property
    def float_path(self) -> Path:
        """The fp32 network's file, written now unless an earlier run left it."""
        path = self.folder / "fp32.onnx"
        if not path.is_file():
            write_float_onnx(load_network(self.name), self._entry.input_shape, path)
        return path

    @functools.cached_property
    def calibration(self) -> tuple[Batch, ...]:
        """Training images with labels, not augmented."""
        data = assets.cifar10("train", self.settings.calibration_images)
        inputs, labels = self._entry.prepare(data.images), torch.from_numpy(data.labels)
        parts = [slice(i, i + _CALIBRATION_BATCH) for i in range(0, len(data), _CALIBRATION_BATCH)]
        return tuple(Batch((inputs[part],), labels[part]) for part in parts)

    @functools.cached_property
    def costs(self) -> CostTable:
        """What every choice takes on the device."""
        return cost_table(self.network.table, load_profile(DEVICE))

    @functools.cached_property
    def timed_scores(self) -> TimedScores:
        """Scores of all layers and widths, from disk where an earlier run left them."""
        path = self.folder / "scores.json"
        if path.is_file():
            return TimedScores.load(path)
        watch = Stopwatch()
        with watch.stage("score"):
            scores = score(
                self.network,
                self.calibration,
                metric="loss",
                rounding="compensated",
                seed=self.settings.seed,
            )
        timed = TimedScores(scores=scores, seconds=watch.seconds["score"])
        timed.save(path)
        return timed

    def float_row(self) -> BenchRow:
        """Measure the fp32 network's file."""
        watch = Stopwatch()
        with watch.stage("export"):
            path = self.float_path
        with watch.stage("evaluate"):
            value = top1_percent(path, self._test_inputs, self._test_labels)
        (latency_ms,) = self._latency_ms([path], 1)
        table = self.network.table
        biases = sum(layer.channels for layer in table.layers)
        size = path.stat().st_size
        return BenchRow(
            network=self.name,
            variant="fp32",
            metric=METRIC,
            value=value,
            float_value=value,
            weight_bits_mean=_FLOAT_BITS,
            flash_bytes=(table.weights + biases + table.float_parameters) * _FLOAT_BYTES,
            file_bytes=size,
            float_file_bytes=size,
            latency_ratio_float=1.0,
            latency_ratio_float_batch32=1.0,
            seconds=watch.seconds,
            samples=len(self._test_labels),
            latency_ms=latency_ms,
            threads=LATENCY_THREADS,
        )

    def uniform(self, variant: str, bits: int, rounding: str) -> Candidate:
        """The same width everywhere, without training."""
        watch = Stopwatch(self._capture_seconds)
        plan = BitPlan.uniform(self.network.table, bits)
        return self._candidate(variant, plan, rounding, watch)

    def greedy(self, variant: str, divisor: int) -> Candidate:
        """Searched for a ``divisor``-th of the fp32 weights' bytes, without training."""
        watch = Stopwatch({**self._capture_seconds, "score": self.timed_scores.seconds})
        budget = Budget(flash=self.float_weight_bytes // divisor)
        with watch.stage("search"):
            solution = search(self.timed_scores.scores, self.costs, budget, strategy="greedy")
        return self._candidate(variant, solution.plan, "compensated", watch)

    def _candidate(self, variant: str, plan: BitPlan, rounding: str, watch: Stopwatch) -> Candidate:
        with watch.stage("quantize"):
            quantized = quantize(self.network, plan, self.calibration, rounding=rounding)
        return Candidate(variant, quantized, watch.seconds)

    def trained(self, variant: str, start: Candidate) -> Candidate:
        """Fine-tuned on augmented training images.

        As many images again as calibrate are held back, neither calibrated nor trained on: they
        choose the best epoch.
        """
        watch = Stopwatch(start.seconds)
        known = self.settings.calibration_images
        seen = self.settings.training_images
        data = assets.cifar10("train", 2 * known + seen).without_first(known)
        loader = training_loader(data.first(seen), self._entry.prepare, _TRAINING_BATCH)
        held_back = self._entry.prepare(data.without_first(seen).images)
        with watch.stage("finetune"):
            quantized = finetune(
                self.network,
                start.quantized.plan,
                loader,
                epochs=self.settings.epochs,
                start=start.quantized,
                validation=held_back.split(_CALIBRATION_BATCH),
                seed=self.settings.seed,
            )
        return Candidate(variant, quantized, watch.seconds)

    def measured(self, candidate: Candidate, baseline: BenchRow) -> BenchRow:
        """Export, verify and measure a quantized network beside the fp32 network's file.

        Raises:
            VerificationError: the file does not compute what the integer reference computes.
        """
        watch = Stopwatch(candidate.seconds)
        path = self.folder / f"{_file_stem(candidate.variant)}.onnx"
        with watch.stage("lower"):
            program = lower(candidate.quantized)
        with watch.stage("export"):
            (name,) = program.inputs
            export_onnx(program, path, {name: self._test_inputs[:_VERIFIED_IMAGES]})
        with watch.stage("evaluate"):
            value = top1_percent(path, self._test_inputs, self._test_labels)
        float_ms, latency_ms = self._latency_ms([self.float_path, path], 1)
        batch_float_ms, batch_ms = self._latency_ms([self.float_path, path], _LATENCY_BATCH)
        plan = candidate.quantized.plan
        return BenchRow(
            network=self.name,
            variant=candidate.variant,
            metric=METRIC,
            value=value,
            float_value=baseline.value,
            weight_bits_mean=plan.mean_weight_bits(self.network.table),
            flash_bytes=int(self.costs.totals(plan)["flash_bytes"]),
            file_bytes=path.stat().st_size,
            float_file_bytes=baseline.file_bytes,
            latency_ratio_float=latency_ms / float_ms,
            latency_ratio_float_batch32=batch_ms / batch_float_ms,
            seconds=watch.seconds,
            samples=len(self._test_labels),
            latency_ms=latency_ms,
            threads=LATENCY_THREADS,
            weight_bits=plan.weight_bits,
        )

    def _latency_ms(self, paths: list[Path], batch: int) -> list[float]:
        """Median time of a batch in each file; larger batches take fewer turns."""
        rounds = max(_LEAST_ROUNDS, self.settings.latency_rounds // batch)
        return interleaved_latency_ms(paths, self._test_inputs[:batch], LATENCY_THREADS, rounds)


def _file_stem(variant: str) -> str:
    return variant.replace(" + ", "_").replace(" ", "_").replace("/", "_of_")
