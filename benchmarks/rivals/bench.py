"""All rows of one network: the float network, uniform plans, our searches, the rivals."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from benchmarks.recording import Recorder
from benchmarks.rivals.cases import FLOAT, NEAREST, OUR, OWN, UNIFORM, Case, Quality, Setting
from benchmarks.rivals.ours import OurTool
from benchmarks.rivals.subjects import Draw, Subject
from benchmarks.rivals.tools import Request, Rival, answers
from benchmarks.rivals.workers.exchange import Answer, Task, accuracy_and_nll
from sigmaquant.network import Network, capture

EXACT = "SigmaQuant"
GREEDY = "SigmaQuant, greedy"
EXACT_ON_LOSS = "SigmaQuant, loss scores"
_SEARCHES = {
    EXACT: ("taylor", "exact"),
    GREEDY: ("taylor", "greedy"),
    EXACT_ON_LOSS: ("loss", "exact"),
}
"""Metric and strategy of each of our rows."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        budgets_bits: bits a weight, on average.
        draws: seeds of the draws of calibration samples.
        test_samples: first test samples, to report on; None is all.
    """

    budgets_bits: tuple[float, ...] = (4.0, 3.0, 2.5, 2.2)
    draws: tuple[int, ...] = (0, 1, 2)
    test_samples: int | None = None


class DrawBench:
    """One network with one draw of its calibration samples.

    Args:
        subject: the network.
        network: captured.
        module: the plain float module.
        seed: of the draw.
        folder: for exported files and exchanged samples.
    """

    def __init__(
        self, subject: Subject, network: Network, module: nn.Module, seed: int, folder: Path
    ) -> None:
        self.seed = seed
        self.folder = folder
        self._subject = subject
        self._network = network
        self._module = module

    @functools.cached_property
    def draw(self) -> Draw:
        """The samples."""
        return self._subject.draw(self.seed)

    @functools.cached_property
    def setting(self) -> Setting:
        """What all its rows share."""
        floating = Quality(*accuracy_and_nll(self._module, self.draw.test))
        return Setting(self._subject.name, self._network.table, self.draw.test, floating)

    @functools.cached_property
    def tool(self) -> OurTool:
        """SigmaQuant on these samples."""
        return OurTool(self._network, self.draw.calibration, self.draw.test, self.folder)

    def request(self, rival: Rival, budgets_bits: Sequence[float | None], weights: Path) -> Request:
        """What a rival is asked; the samples are written for it."""
        calibration, test = self.folder / "calibration.npz", self.folder / "test.npz"
        self.draw.calibration.save(calibration)
        self.draw.test.save(test)
        task = Task(
            network=self._subject.name,
            weights=str(weights),
            calibration=str(calibration),
            test=str(test),
            budgets_bits=tuple(bits for bits in budgets_bits if bits is not None),
            answers=str(self.folder / rival.title),
            loss_factor=rival.loss_factor,
        )
        path = self.folder / f"{rival.title}.json"
        return Request(path, task, accuracy_and_nll(self._module, self.draw.calibration)[1])


class NetworkBench:
    """One network with all its draws.

    Args:
        subject: the network.
        settings: how much is measured.
        recorder: of the rows.
        folder: for all files.
    """

    def __init__(
        self, subject: Subject, settings: Settings, recorder: Recorder, folder: Path
    ) -> None:
        self._subject = subject
        self._settings = settings
        self._recorder = recorder
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        module = subject.module()
        self._network = capture(module, torch.zeros(2, *subject.pool.inputs.shape[1:]))
        self._draws = [
            DrawBench(subject, self._network, module, seed, folder / f"draw{seed}")
            for seed in settings.draws
        ]

    def run(self, rivals: Iterable[Rival]) -> None:
        """Measure every row that is not recorded yet."""
        for draw in self._draws:
            self._bench_float(draw)
            self._bench_uniform(draw)
            self._bench_searches(draw)
        for rival in rivals:
            self._bench_rival(rival)

    def _bench_float(self, draw: DrawBench) -> None:
        case = Case(FLOAT, None, None, draw.seed)
        self._recorder.row(self._subject.name, case.variant, lambda: draw.setting.float_row(case))

    def _bench_uniform(self, draw: DrawBench) -> None:
        whole = [bits for bits in self._settings.budgets_bits if bits.is_integer()]
        for budget_bits in whole:
            bits = {layer.name: int(budget_bits) for layer in self._network.table.layers}
            for rounding in (NEAREST, OUR):
                self._bench_plan(draw, Case(UNIFORM, rounding, budget_bits, draw.seed), bits)

    def _bench_searches(self, draw: DrawBench) -> None:
        for budget_bits in self._settings.budgets_bits:
            for tool in _SEARCHES:
                self._bench_search(draw, Case(tool, OUR, budget_bits, draw.seed))

    def _bench_search(self, draw: DrawBench, case: Case) -> None:
        if self._recorder.has(self._subject.name, case.variant):
            return
        assert case.budget_bits is not None
        metric, strategy = _SEARCHES[case.tool]
        found = draw.tool.allocation(metric, strategy, case.budget_bits)
        gap = None
        if case.tool == GREEDY:
            least = draw.tool.allocation(metric, "exact", case.budget_bits).solution.objective
            gap = found.solution.objective / least - 1
        self._bench_plan(draw, case, found.solution.plan.weight_bits, found.seconds, gap)

    def _bench_plan(
        self,
        draw: DrawBench,
        case: Case,
        weight_bits: dict[str, int],
        seconds: dict[str, float] | None = None,
        gap: float | None = None,
    ) -> None:
        """Apply widths with our quantizer, and record the row."""
        if self._recorder.has(self._subject.name, case.variant):
            return
        assert case.rounding is not None
        outcome = draw.tool.outcome(weight_bits, case.rounding)
        spent = {**(seconds or {}), **outcome.seconds}
        row = draw.setting.row(case, outcome.quality, weight_bits, spent, gap)
        self._recorder.row(self._subject.name, case.variant, lambda: row)

    def _bench_rival(self, rival: Rival) -> None:
        missing = {draw: self._missing(rival, draw.seed) for draw in self._draws}
        asked = [draw for draw, budgets in missing.items() if budgets]
        weights = self._folder / "weights.safetensors"
        safetensors.torch.save_file(self._subject.state, weights)
        requests = [draw.request(rival, missing[draw], weights) for draw in asked]
        found = answers(rival, requests, self._network.table)
        for draw, of_draw in zip(asked, found, strict=True):
            for answer in of_draw:
                self._record_answer(draw, rival, answer)

    def _missing(self, rival: Rival, seed: int) -> list[float | None]:
        """Budgets without both rows of the rival."""
        budgets = rival.budgets(self._settings.budgets_bits)
        return [bits for bits in budgets if not self._has_both(rival.title, bits, seed)]

    def _has_both(self, title: str, budget_bits: float | None, seed: int) -> bool:
        cases = [Case(title, rounding, budget_bits, seed) for rounding in (OWN, OUR)]
        return all(self._recorder.has(self._subject.name, case.variant) for case in cases)

    def _record_answer(self, draw: DrawBench, rival: Rival, answer: Answer) -> None:
        """The rival's own row, and its widths through our quantizer."""
        own = Case(rival.title, OWN, answer.budget_bits, draw.seed)
        quality = Quality(answer.accuracy, answer.nll_nats)
        row = draw.setting.row(own, quality, answer.weight_bits, answer.seconds)
        self._recorder.row(self._subject.name, own.variant, lambda: row)
        ours = Case(rival.title, OUR, answer.budget_bits, draw.seed)
        allocate = {"allocate": answer.seconds["allocate"]}
        self._bench_plan(draw, ours, answer.weight_bits, allocate)
