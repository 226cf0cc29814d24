from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.recording import Recorder
from benchmarks.results import BenchResult
from benchmarks.rivals import __main__ as command
from benchmarks.rivals import bench, subjects
from benchmarks.rivals.bench import NetworkBench, Settings
from benchmarks.rivals.cases import Case, Quality, Setting, budget_weight_bytes, weight_bytes
from benchmarks.rivals.ours import Allocation, OurTool, Outcome
from benchmarks.rivals.subjects import Subject
from benchmarks.rivals.table import rivals_lines
from benchmarks.rivals.tools import RIVALS, Request, Rival
from benchmarks.rivals.workers.exchange import Answer, Samples
from sigmaquant.demo_network import DigitNet
from sigmaquant.layers import LayerTable
from sigmaquant.network import capture

BUDGETS = (3.0, 2.5)


def samples(count: int, *shape: int, classes: int = 10) -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, *shape, generator=generator)
    return Samples(inputs, torch.randint(classes, (count,), generator=generator))


class FakeTool:
    """Instead of scores, solvers and rounding: widths of 2 bits at once."""

    def __init__(self, network: object, calibration: Samples, test: Samples, folder: Path) -> None:
        self._table: LayerTable = network.table  # type: ignore[attr-defined]

    def allocation(self, metric: str, strategy: str, budget_bits: float) -> Allocation:
        bits = {layer.name: 2 for layer in self._table.layers}
        objective = 1.25 if strategy == "greedy" else 1.0
        solution = SimpleNamespace(plan=SimpleNamespace(weight_bits=bits), objective=objective)
        return Allocation(solution, {"score": 1.0, "search": 0.5})  # type: ignore[arg-type]

    def outcome(self, weight_bits: dict[str, int], rounding: str) -> Outcome:
        return Outcome(Quality(0.75, 0.5), {"quantize": 2.0})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[float, ...]]]:
    """What rivals were asked: title and budgets, a request each."""
    seen: list[tuple[str, tuple[float, ...]]] = []

    def answers(
        rival: Rival, requests: Sequence[Request], table: LayerTable
    ) -> list[tuple[Answer, ...]]:
        bits = {layer.name: 3 for layer in table.layers}
        seen.extend((rival.title, request.task.budgets_bits) for request in requests)
        return [
            tuple(
                Answer(budget, bits, 0.5, 0.9, 0.1, {"allocate": 4.0, "quantize": 1.0})
                for budget in rival.budgets(request.task.budgets_bits)
            )
            for request in requests
        ]

    monkeypatch.setattr(bench, "answers", answers)
    monkeypatch.setattr(bench, "OurTool", FakeTool)
    monkeypatch.setattr(subjects, "CALIBRATION_SAMPLES", 8)
    return seen


def measure(folder: Path, result: BenchResult, tools: Sequence[str]) -> BenchResult:
    torch.manual_seed(0)
    subject = Subject("digits", DigitNet().eval(), samples(20, 1, 16, 16), samples(12, 1, 16, 16))
    recorder = Recorder(result, folder)
    settings = Settings(budgets_bits=BUDGETS, draws=(0, 1))
    NetworkBench(subject, settings, recorder, folder / "digits").run(RIVALS[t] for t in tools)
    return recorder.result


def fresh() -> BenchResult:
    return BenchResult.begin("rivals", "make bench BENCH=rivals", seed=0)


def test_every_tool_budget_and_draw_has_its_rows(
    tmp_path: Path, asked: list[tuple[str, tuple[float, ...]]]
) -> None:
    result = measure(tmp_path, fresh(), ["mct", "aimet"])
    of_draw = [row.variant for row in result.rows if row.draw == 1]
    assert of_draw == [
        "fp32, draw 1",
        "uniform, nearest rounding, 3 bits, draw 1",
        "uniform, our rounding, 3 bits, draw 1",
        "SigmaQuant, our rounding, 3 bits, draw 1",
        "SigmaQuant, greedy, our rounding, 3 bits, draw 1",
        "SigmaQuant, loss scores, our rounding, 3 bits, draw 1",
        "SigmaQuant, our rounding, 2.5 bits, draw 1",
        "SigmaQuant, greedy, our rounding, 2.5 bits, draw 1",
        "SigmaQuant, loss scores, our rounding, 2.5 bits, draw 1",
        "MCT, own rounding, 3 bits, draw 1",
        "MCT, our rounding, 3 bits, draw 1",
        "MCT, own rounding, 2.5 bits, draw 1",
        "MCT, our rounding, 2.5 bits, draw 1",
        "AIMET, own rounding, draw 1",
        "AIMET, our rounding, draw 1",
    ]
    assert len(result.rows) == 2 * len(of_draw)
    assert asked == [*[("MCT", BUDGETS)] * 2, *[("AIMET", ())] * 2]
    assert BenchResult.load(tmp_path / "rivals.json") == result


def test_times_sizes_and_gaps_are_told_apart(
    tmp_path: Path, asked: list[tuple[str, tuple[float, ...]]]
) -> None:
    result = measure(tmp_path, fresh(), ["mct"])
    greedy = result.row("digits", "SigmaQuant, greedy, our rounding, 3 bits, draw 0")
    own = result.row("digits", "MCT, own rounding, 3 bits, draw 0")
    ours = result.row("digits", "MCT, our rounding, 3 bits, draw 0")
    assert greedy is not None
    assert own is not None
    assert ours is not None
    assert greedy.objective_gap == pytest.approx(0.25)
    assert greedy.weight_bytes == 77_072 * 2 // 8
    assert greedy.seconds == {"score": 1.0, "search": 0.5, "quantize": 2.0}
    assert (own.value, own.nll_nats) == (50.0, 0.9)
    assert own.seconds == {"allocate": 4.0, "quantize": 1.0}
    assert (ours.value, ours.nll_nats) == (75.0, 0.5)
    assert ours.seconds == {"allocate": 4.0, "quantize": 2.0}
    assert ours.weight_bits_mean == 3


def test_what_is_recorded_is_not_measured_again(
    tmp_path: Path, asked: list[tuple[str, tuple[float, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = measure(tmp_path, fresh(), ["mct"])
    asked.clear()
    without = [row for row in result.rows if row.variant != "MCT, own rounding, 2.5 bits, draw 1"]
    again = measure(tmp_path, result.model_copy(update={"rows": tuple(without)}), ["mct"])
    assert asked == [("MCT", (2.5,))]
    assert len(again.rows) == len(result.rows)
    monkeypatch.setattr(FakeTool, "outcome", None)
    measure(tmp_path, again, ["mct"])


class TwoConvolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.second(torch.relu(self.first(x))))
        logits: torch.Tensor = self.linear(y.mean((2, 3)))
        return logits


def test_our_tool_keeps_budgets_and_measures_the_exported_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = capture(TwoConvolutions().eval(), torch.zeros(2, 2, 8, 8))
    data = samples(24, 2, 8, 8, classes=3)
    tool = OurTool(network, data, data, tmp_path)
    found = tool.allocation("taylor", "exact", 4.0)
    plan = found.solution.plan.weight_bits
    budget = budget_weight_bytes(network.table, 4.0)
    assert budget == 228 * 4 // 8
    assert weight_bytes(network.table, plan) <= budget
    assert set(found.seconds) == {"score", "search"}
    outcome = tool.outcome(plan, "our")
    assert (tmp_path / "quantized.onnx").is_file()
    assert 0 <= outcome.quality.accuracy <= 1
    assert tool.outcome(dict(plan), "our") is outcome
    assert tool.outcome(plan, "nearest") is not outcome


def test_layers_are_padded_to_whole_bytes() -> None:
    network = capture(nn.Linear(3, 3), torch.zeros(2, 3))
    (layer,) = network.table.layers
    assert weight_bytes(network.table, {layer.name: 3}) == 4
    assert budget_weight_bytes(network.table, 3.0) == 3


def aggregated() -> list[str]:
    table = capture(nn.Linear(4, 4), torch.zeros(2, 4)).table
    bits = {layer.name: 4 for layer in table.layers}
    setting = Setting("tiny", table, samples(7, 4, classes=4), Quality(1.0, 0.125))
    rows = [setting.float_row(Case("fp32", None, None, 0))]
    for draw, accuracy in enumerate((0.9, 0.8)):
        for budget_bits in (3.0, 4.0, None):
            case = Case("MCT", "own", budget_bits, draw)
            spent = {"allocate": 1.0 + draw, "quantize": 3.0}
            rows.append(setting.row(case, Quality(accuracy, 0.25), bits, spent))
    uniform = setting.row(
        Case("uniform", "our", 3.0, 0), Quality(0.5, 1.0), bits, {"quantize": 1.0}
    )
    return rivals_lines(fresh().model_copy(update={"rows": (*rows, uniform)}))


def test_draws_are_taken_together_and_budgets_sorted() -> None:
    lines = aggregated()
    assert lines[1] == "tiny, 7 test samples:"
    assert lines[5:] == [
        "| - | fp32 | - | 100.00 | 0.1250 | - | - | - | - |",
        "| 4 bits | MCT | own | 85.00 ± 5.00 | 0.2500 ± 0.0000 | 8 ± 0 | 1.50 ± 0.50 "
        "| 3.00 ± 0.00 | - |",
        "| 3 bits | MCT | own | 85.00 ± 5.00 | 0.2500 ± 0.0000 | 8 ± 0 | 1.50 ± 0.50 "
        "| 3.00 ± 0.00 | - |",
        "| 3 bits | uniform | our | 50.00 | 1.0000 | 8 | - | 1.00 | - |",
        "| - | MCT | own | 85.00 ± 5.00 | 0.2500 ± 0.0000 | 8 ± 0 | 1.50 ± 0.50 "
        "| 3.00 ± 0.00 | - |",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--networks", "resnet21"], "known: digits, resnet20, resnet8, dscnn"),
        (["--tools", "mct,tvm"], "unknown: tvm; known: mct, modelopt, modelopt-x1000, aimet"),
        (["--seeds", "0,one"], "is not a list such as 0,1,2"),
    ],
)
def test_what_is_not_known_is_refused(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["rivals", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert said in capsys.readouterr().err


def test_absent_assets_end_with_the_code_of_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGMAQUANT_ASSETS", str(tmp_path))
    monkeypatch.setattr(command, "_RUNS", tmp_path / "runs")
    monkeypatch.setattr("sys.argv", ["rivals", "--quick", "--networks", "resnet8"])
    assert command.main() == 2
    assert "benchmark assets absent" in capsys.readouterr().err
