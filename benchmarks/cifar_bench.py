"""One CIFAR-10 network on the whole road, from scores to the measured file."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import assets
from benchmarks.cifar_training import training_loader
from benchmarks.measuring import Candidate, FileMeter, TestData
from benchmarks.networks import NETWORKS, load_network
from benchmarks.stopwatch import Stopwatch
from sigmaquant.artifact import Artifact
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch
from sigmaquant.finetune import finetune
from sigmaquant.network import Network, capture
from sigmaquant.quantized import quantize
from sigmaquant.search import search
from sigmaquant.sensitivity import SensitivityTable, score

_CALIBRATION_BATCH = 100
_TRAINING_BATCH = 128


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
        watch = Stopwatch()
        with watch.stage("capture"):
            example = torch.zeros(2, *self._entry.input_shape)
            self.network: Network = capture(load_network(name), example)
        self._capture_seconds = watch.seconds
        self.meter = FileMeter(name, self.network, self._test_data, folder, settings.latency_rounds)

    def _test_data(self) -> TestData:
        test = assets.cifar10("test", self.settings.test_images)
        return TestData(self._entry.prepare(test.images).numpy(), test.labels)

    @functools.cached_property
    def calibration(self) -> tuple[Batch, ...]:
        """Training images with labels, not augmented."""
        data = assets.cifar10("train", self.settings.calibration_images)
        inputs, labels = self._entry.prepare(data.images), torch.from_numpy(data.labels)
        parts = [slice(i, i + _CALIBRATION_BATCH) for i in range(0, len(data), _CALIBRATION_BATCH)]
        return tuple(Batch((inputs[part],), labels[part]) for part in parts)

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
                metric="taylor",
                rounding="compensated",
                seed=self.settings.seed,
            )
        timed = TimedScores(scores=scores, seconds=watch.seconds["score"])
        timed.save(path)
        return timed

    def uniform(self, variant: str, bits: int, rounding: str) -> Candidate:
        """The same width everywhere, without training."""
        watch = Stopwatch(self._capture_seconds)
        plan = BitPlan.uniform(self.network.table, bits)
        return self._candidate(variant, plan, rounding, watch)

    def greedy(self, variant: str, divisor: int) -> Candidate:
        """Searched for a ``divisor``-th of the fp32 weights' bytes, without training."""
        watch = Stopwatch({**self._capture_seconds, "score": self.timed_scores.seconds})
        budget = Budget(flash=self.meter.float_weight_bytes // divisor)
        with watch.stage("search"):
            solution = search(self.timed_scores.scores, self.meter.costs, budget, strategy="greedy")
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
