"""Our own part: scores, solvers and the quantizer that every tool's widths go through."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

import sigmaquant as sq
from benchmarks.onnx_files import open_session
from benchmarks.rivals.cases import OUR, Quality, budget_weight_bytes, weight_bytes
from benchmarks.rivals.workers.exchange import ACTIVATION_BITS, Samples, accuracy_and_nll
from benchmarks.stopwatch import Stopwatch
from sigmaquant.calibration import Batch
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile
from sigmaquant.export import export_onnx
from sigmaquant.lowering import lower
from sigmaquant.search import Solution

DEVICE = "cortex-m7"  # stores every width 2..8 packed
_BATCH = 64
_VERIFIED_SAMPLES = 16
_ROUNDINGS = {OUR: "compensated", "nearest": "nearest"}


@dataclass(frozen=True)
class Allocation:
    """Widths that a search chose.

    Attributes:
        solution: with the plan and its objective.
        seconds: "score" and "search".
    """

    solution: Solution
    seconds: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """A plan, applied and measured.

    Attributes:
        quality: on the test samples.
        seconds: "quantize".
    """

    quality: Quality
    seconds: dict[str, float]


class OurTool:
    """SigmaQuant on one network and one draw of the calibration samples.

    What was computed once is kept: scores by metric, outcomes by plan and rounding.

    Args:
        network: captured.
        calibration: to score and round with.
        test: to report on.
        folder: for the exported file.
    """

    def __init__(
        self, network: sq.Network, calibration: Samples, test: Samples, folder: Path
    ) -> None:
        self._network = network
        self._calibration = [Batch((x,), y) for x, y in calibration.batches(_BATCH)]
        self._test = test
        self._folder = folder
        self._scores: dict[str, tuple[sq.SensitivityTable, float]] = {}
        self._outcomes: dict[tuple[str, tuple[int, ...]], Outcome] = {}

    def allocation(self, metric: str, strategy: str, budget_bits: float) -> Allocation:
        """Widths within a budget; the time of the scores counts for every budget."""
        scores, score_seconds = self._scored(metric)
        watch = Stopwatch({"score": score_seconds})
        with watch.stage("search"):
            solution = sq.solve(
                self._network,
                scores,
                device=DEVICE,
                budget=sq.Budget(flash_bytes=self._flash_bytes(budget_bits)),
                strategy=strategy,
                activation_bits=ACTIVATION_BITS,
            )
        return Allocation(solution, watch.seconds)

    def _scored(self, metric: str) -> tuple[sq.SensitivityTable, float]:
        if metric not in self._scores:
            watch = Stopwatch()
            with watch.stage("score"):
                scores = sq.score(self._network, self._calibration, metric=metric)
            self._scores[metric] = scores, watch.seconds["score"]
        return self._scores[metric]

    def _flash_bytes(self, budget_bits: float) -> int:
        """The budget of the weights, with what a file stores beside them."""
        table = self._network.table
        plan = sq.BitPlan.uniform(table, 8)
        flash_bytes = int(cost_table(table, load_profile(DEVICE)).totals(plan)["flash_bytes"])
        beside = flash_bytes - weight_bytes(table, plan.weight_bits)
        return budget_weight_bytes(table, budget_bits) + beside

    def outcome(self, weight_bits: Mapping[str, int], rounding: str) -> Outcome:
        """Apply widths with our quantizer and measure the exported file in ONNX Runtime."""
        table = self._network.table
        key = rounding, tuple(weight_bits[layer.name] for layer in table.layers)
        if key not in self._outcomes:
            plan = sq.BitPlan.uniform(table, 8, ACTIVATION_BITS).with_weight_bits(weight_bits)
            watch = Stopwatch()
            with watch.stage("quantize"):
                quantized = sq.quantize(
                    self._network, plan, self._calibration, rounding=_ROUNDINGS[rounding]
                )
            self._outcomes[key] = Outcome(self._measured(quantized), watch.seconds)
        return self._outcomes[key]

    def _measured(self, quantized: sq.QuantizedNetwork) -> Quality:
        program = lower(quantized)
        path = self._folder / "quantized.onnx"
        verified = self._test.first(_VERIFIED_SAMPLES).inputs.numpy()
        export_onnx(program, path, {program.inputs[0]: verified})
        session = open_session(path, threads=len(os.sched_getaffinity(0)))
        (node,) = session.get_inputs()

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(session.run(None, {node.name: inputs.numpy()})[0])

        return Quality(*accuracy_and_nll(forward, self._test))
