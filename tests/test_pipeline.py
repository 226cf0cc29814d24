"""The whole road, in Python: results, resuming, gates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sigmaquant as sq
from sigmaquant import pipeline, run_stages
from sigmaquant.calibration import read_batches
from sigmaquant.data import hold_back
from sigmaquant.divergence import divergence
from sigmaquant.errors import (
    ConfigError,
    DataError,
    DeviceError,
    GateError,
    InfeasibleError,
    ModelError,
    OutputError,
    SigmaQuantError,
    UnitError,
    UnsupportedError,
)
from sigmaquant.report import RunReport, guarantees
from sigmaquant.search import Solution

BUDGET = sq.Budget(flash="660 B", ram="16 KiB")
TIGHT = sq.Budget(flash="620 B")


class TinyNet(nn.Module):
    """Two convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 10, 3, 2, padding=1)
        self.classifier = nn.Linear(160, 5)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


def digits() -> tuple[Tensor, Tensor]:
    """Images (1797, 1, 8, 8) and the digit modulo 5."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return images, torch.tensor(labels) % 5


@pytest.fixture(scope="module")
def model() -> TinyNet:
    """Trained: what rounding costs a network with random weights, no training wins back."""
    images, labels = digits()
    torch.manual_seed(0)
    made = TinyNet().eval()
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(100):
        drawn = torch.randint(len(images), (64,))
        optimizer.zero_grad()
        F.cross_entropy(made(images[drawn]), labels[drawn]).backward()
        optimizer.step()
    return made


def labelled(model: nn.Module, count: int, seed: int) -> TensorDataset:
    """Digits with the classes that the float network gives them: its accuracy is 1.

    Of six times as many the hardest are kept, whose class any change of the network may turn.
    """
    drawn = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))[: 6 * count]
    images = digits()[0][drawn]
    with torch.no_grad():
        best = model(images).topk(2, dim=1)
    kept = (best.values[:, 0] - best.values[:, 1]).argsort()[:count]
    return TensorDataset(images[kept], best.indices[kept, 0])


@pytest.fixture(scope="module")
def data(model: TinyNet) -> dict[str, DataLoader[Any]]:
    return {
        "calibration": DataLoader(labelled(model, 48, 1), 16),
        "train": DataLoader(labelled(model, 256, 2), 16, shuffle=True),
        "evaluation": DataLoader(labelled(model, 100, 3), 50),
    }


def optimize(model: Any, data: dict[str, Any], **options: Any) -> sq.Result:
    settings = {"device": "cortex-m4", "budget": BUDGET, "epochs": 3, "learning_rate": 0.01}
    given = {**settings, **data, **options}
    return sq.optimize(model, **given)


@pytest.fixture(scope="module")
def finished(
    model: TinyNet, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[sq.Result, Path]:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("finished")
    return optimize(model, data, out=folder), folder


def test_every_stage_leaves_its_file(finished: tuple[sq.Result, Path]) -> None:
    _, folder = finished
    assert {file.name for file in folder.iterdir()} == {
        "network.pt2",
        "costs.json",
        "check.json",
        "scores.json",
        "solution.json",
        "plan.json",
        "quantized.safetensors",
        "finetuned.safetensors",
        "program.safetensors",
        "model.onnx",
        "verification.json",
        "evaluation.json",
        "report.json",
        "report.html",
        "stages.json",
    }


def test_the_result_is_what_the_files_say(finished: tuple[sq.Result, Path]) -> None:
    result, folder = finished
    assert sq.BitPlan.load(folder / "plan.json") == result.plan == result.network.plan
    assert RunReport.load(folder / "report.json") == result.report
    saved = sq.QuantizedNetwork.load(
        folder / "finetuned.safetensors", sq.Network.load(folder / "network.pt2")
    )
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(saved(x), result.network(x))


def test_training_wins_back_much(
    model: TinyNet, data: dict[str, Any], finished: tuple[sq.Result, Path]
) -> None:
    """Tests of what is repeated stand on this: a start that comes back changes nothing behind."""
    folder = finished[1]
    network = sq.Network.load(folder / "network.pt2")
    _, held_back = hold_back(read_batches(data["calibration"], network), 0.25, 0)

    def loss(file: str) -> float:
        quantized = sq.QuantizedNetwork.load(folder / file, network)
        with torch.no_grad():
            pairs = [((model(b.inputs[0]),), (quantized(*b.inputs),)) for b in held_back]
        return float(torch.cat([divergence(*pair) for pair in pairs]).mean())

    assert loss("finetuned.safetensors") < 0.9 * loss("quantized.safetensors")


def test_the_report_holds_every_state(finished: tuple[sq.Result, Path]) -> None:
    report = finished[0].report
    stages = ["float", "quantized", "finetuned", "exported"]
    assert [row.stage for row in report.quality if row.metric == "accuracy"] == stages
    float_quality = report.quality_at("float", "accuracy")
    assert float_quality is not None
    assert float_quality.value == 1.0
    flash = report.budget("flash_bytes")
    assert flash is not None
    assert flash.fits
    assert flash.limit == 660
    assert flash.float_value == 4 * (72 + 8 + 720 + 10 + 800 + 5)
    (exported,) = report.exports
    assert exported.verified
    assert exported.file_bytes == (finished[1] / "model.onnx").stat().st_size
    assert [plan.origin for plan in report.compared_plans if plan.chosen]
    assert [time.stage for time in report.stage_times] == [
        "capture",
        "check",
        "score",
        "costs",
        "search",
        "quantize",
        "finetune",
        "lower",
        "export",
        "evaluate",
    ]


def test_the_calibration_data_are_trained_on_where_nothing_else_is_there(
    model: TinyNet, data: dict[str, Any], tmp_path: Path
) -> None:
    images = [images for images, _ in data["calibration"]]
    given: dict[str, Any] = {"calibration": images, "train": "calibration", "out": tmp_path}
    first = optimize(model, {**data, **given}, epochs=1).report
    assert first.quality_at("finetuned", "loss") is not None
    again = optimize(model, {**data, **given}, epochs=1).report
    assert again.stage_times == first.stage_times
    optimize(model, {**data, **given}, epochs=1, mirrored=True)
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(ConfigError, match=r"--data: expected 'training' or 'calibration'"):
        optimize(model, {**data, "train": "callibration"})


class Calls:
    """Counts which stages really ran, and lets one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self._monkeypatch = monkeypatch
        for name in ("score", "search", "finetune", "lower", "export_program", "evaluate_states"):
            self._watch(name)

    def _watch(self, name: str) -> None:
        original = getattr(run_stages, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.made.append(name)
            return original(*args, **kwargs)

        self._monkeypatch.setattr(run_stages, name, counted)

    def fail_at(self, name: str) -> None:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise KeyboardInterrupt

        self._monkeypatch.setattr(run_stages, name, fail)


ALL = ["score", "search", "finetune", "lower", "export_program", "evaluate_states"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.mark.parametrize("stage", ALL)
def test_a_killed_run_goes_on(
    model: TinyNet,
    data: dict[str, Any],
    finished: tuple[sq.Result, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    with monkeypatch.context() as patched:
        Calls(patched).fail_at(stage)
        with pytest.raises(KeyboardInterrupt):
            optimize(model, data, out=tmp_path)
    calls = Calls(monkeypatch)
    result = optimize(model, data, out=tmp_path)
    assert calls.made == ALL[ALL.index(stage) :]
    assert result.plan == finished[0].plan
    assert (tmp_path / "model.onnx").read_bytes() == (finished[1] / "model.onnx").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_a_finished_run_is_only_read(
    model: TinyNet, data: dict[str, Any], finished: tuple[sq.Result, Path], calls: Calls
) -> None:
    again = optimize(model, data, out=finished[1])
    assert calls.made == []
    assert again.plan == finished[0].plan
    assert again.report.quality == finished[0].report.quality
    assert again.report.stage_times == finished[0].report.stage_times


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"seed": 1}, "score"),
        ({"budget": TIGHT}, "search"),
        ({"epochs": 2}, "finetune"),
        ({"epochs": 0}, "lower"),
    ],
)
def test_a_change_repeats_only_what_it_touches(
    model: TinyNet,
    data: dict[str, Any],
    finished: tuple[sq.Result, Path],
    tmp_path: Path,
    calls: Calls,
    change: dict[str, Any],
    first: str,
) -> None:
    folder = shutil.copytree(finished[1], tmp_path / "run")
    result = optimize(model, data, out=folder, **change)
    assert calls.made[0] == first
    assert set(calls.made) <= set(ALL[ALL.index(first) :])
    assert result.report.quality_loss == "cross entropy"
    tuned = result.report.quality_at("finetuned", "loss")
    assert (tuned is None) == (change == {"epochs": 0})


def test_another_network_repeats_everything(
    data: dict[str, Any], finished: tuple[sq.Result, Path], tmp_path: Path, calls: Calls
) -> None:
    folder = shutil.copytree(finished[1], tmp_path / "run")
    torch.manual_seed(1)
    optimize(TinyNet().eval(), data, out=folder)
    assert calls.made == ALL


def test_without_training_folder_or_labels(model: TinyNet, data: dict[str, Any]) -> None:
    images = [batch[0] for batch in data["calibration"]]
    result = sq.optimize(
        model, torch.zeros(2, 1, 8, 8), calibration=images, device="cortex-m7", budget=TIGHT
    )
    assert [(row.stage, row.metric) for row in result.report.quality] == [
        ("float", "loss"),
        ("quantized", "loss"),
        ("exported", "loss"),
    ]
    assert result.report.quality[0].value == 0
    assert result.report.quality_loss == "divergence"
    assert any("held-back" in warning for warning in result.report.warnings)
    assert result.report.budget("flash_bytes").used <= 620  # type: ignore[union-attr]


@pytest.mark.parametrize(("strategy", "metric"), [("refine", "taylor"), ("sigma", "sigma")])
def test_strategies_that_measure_say_what_they_gained(
    model: TinyNet, data: dict[str, Any], tmp_path: Path, strategy: str, metric: str
) -> None:
    options = {"train": None, "strategy": strategy, "metric": metric, "out": tmp_path}
    report = optimize(model, data, budget=TIGHT, **options).report
    found = report.solution.refinement
    if not report.solution.strategy.startswith("uniform"):
        assert found is not None
        assert found.measurements >= 1
        assert found.loss_after is not None
        assert found.loss_before is not None
        assert found.loss_after <= found.loss_before
        assert (report.solution.strategy, report.scoring.metric) == (strategy, metric)
    taken = next(plan for plan in report.compared_plans if plan.chosen)
    losses = [plan.loss for plan in report.compared_plans if plan.loss is not None]
    assert taken.feasible
    assert taken.loss == min(losses)


def test_the_report_tells_every_guarantee(finished: tuple[sq.Result, Path]) -> None:
    report, folder = finished[0].report, finished[1]
    sentences = guarantees(report)
    solution = Solution.load(folder / "solution.json")
    assert sentences[0].startswith("Every budget is kept; used are flash to 9")
    assert "on 12 held-back calibration samples" in sentences[1]
    assert (report.solution.rise, report.solution.rise_standard_error) == (
        solution.objective,
        solution.objective_standard_error,
    )
    assert len(report.close_calls) == len(solution.close_calls)
    assert report.plan_loss == "divergence"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(json.dumps(sentence) in page for sentence in sentences)


def test_infeasible_budgets_are_refused_before_scoring(
    model: TinyNet, data: dict[str, Any], calls: Calls
) -> None:
    with pytest.raises(InfeasibleError, match="flash of 100 B"):
        optimize(model, data, budget=sq.Budget(flash="100 B"))
    with pytest.raises(InfeasibleError, match="latency"):
        optimize(model, data, coded=True, budget=sq.Budget(latency="1 us"))
    assert calls.made == []


def test_a_code_too_long_for_the_budget_is_told_of_after_scoring(
    model: TinyNet, data: dict[str, Any]
) -> None:
    with pytest.raises(InfeasibleError, match="flash of 100 B"):
        optimize(model, data, coded=True, budget=sq.Budget(flash="100 B"))


def test_the_device_memory_is_a_budget(model: TinyNet, data: dict[str, Any]) -> None:
    profile = sq.load_profile("cortex-m4")
    memory = profile.memory.model_copy(update={"ram_bytes": 8500})
    small = profile.model_copy(update={"memory": memory})
    with pytest.raises(InfeasibleError, match="ram"):
        optimize(model, data, device=small)


def test_the_gate_is_judged_after_the_report(
    model: TinyNet, data: dict[str, Any], tmp_path: Path
) -> None:
    options = {"budget": TIGHT, "epochs": 0, "out": tmp_path}
    with pytest.raises(GateError, match=r"accuracy dropped by .* points, from 100\.00 %"):
        optimize(model, data, max_drop=0.0, **options)
    assert (tmp_path / "report.json").exists()
    assert optimize(model, data, max_drop=100.0, **options).plan


def once(loader: DataLoader[Any]) -> Iterator[Any]:
    yield from loader


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibration": []}, DataError, "gave no"),
        ({"calibration": [torch.full((4, 1, 8, 8), torch.nan)]}, DataError, "NaN"),
        ({"calibration": [torch.zeros(1, 1, 8, 8)]}, DataError, "cannot be split"),
        ({"train": [torch.zeros(4, 3)]}, DataError, r"training batch 0 has shape \(4, 3\)"),
        ({"train": []}, DataError, "training data have no batch"),
        ({"evaluation": []}, DataError, "evaluation data have no batch"),
        (
            {"evaluation": [(torch.zeros(2, 1, 8, 8), torch.tensor([0, 5]))]},
            DataError,
            "labels go from 0 to 5, but the network has 5 classes",
        ),
        (
            {"evaluation": [torch.zeros(2, 1, 8, 8)], "max_drop": 1.0},
            ConfigError,
            "max_drop limits the drop of the accuracy",
        ),
        ({"evaluation": 3}, DataError, "is a int"),
        ({"device": "cortex-m9"}, DeviceError, "unknown device 'cortex-m9'"),
        ({"strategy": "gredy"}, ConfigError, "did you mean 'greedy'"),
        ({"rounding": "up"}, ConfigError, "--rounding"),
        (
            {"rounding": "nearest", "coded": True},
            ConfigError,
            "onnxruntime-coded counts on weights in rounding 'coded', not 'nearest'",
        ),
        ({"rounding": "nearest", "runtime": "onnxruntime-coded"}, ConfigError, "leave the roundi"),
        ({"epochs": -1}, ConfigError, "--epochs"),
        ({"max_drop": -1.0}, ConfigError, "--max-drop"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_work(
    model: TinyNet,
    data: dict[str, Any],
    options: dict[str, Any],
    error: type[SigmaQuantError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        optimize(model, data, **options)


@pytest.mark.parametrize("runtime", [None, "onnxruntime"])
def test_a_file_that_takes_more_than_the_budget_is_told_of(
    model: TinyNet,
    data: dict[str, Any],
    runtime: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def larger(*given: Any) -> Any:
        return export_program(*given).model_copy(update={"file_bytes": 20_123})

    export_program = run_stages.export_program
    monkeypatch.setattr(run_stages, "export_program", larger)
    budget = sq.Budget(flash=20_000)
    optimize(model, data, runtime=runtime, budget=budget, epochs=0)
    told = "model.onnx takes 20,123 bytes, 123 more than the flash budget" in caplog.text
    # A device's own stack keeps weights elsewhere than in this file.
    assert told == (runtime is not None)


class Accumulating(nn.Module):
    """Captured, scored and quantized with ease; but ONNX export has no form for its operator."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(x).logcumsumexp(1))
        return result


def test_what_cannot_be_exported_is_refused_before_scoring(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="logcumsumexp"):
        sq.optimize(
            Accumulating(),
            calibration=[torch.randn(8, 8), torch.randn(8, 8)],
            device="cortex-m4",
            budget=sq.Budget(flash="1 KiB"),
            out=tmp_path,
        )
    assert not (tmp_path / "scores.json").exists()


def test_one_shot_loaders_are_refused(model: TinyNet, data: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"the training data is a .*, which can be read only once"):
        optimize(model, {**data, "train": once(data["train"])})


def test_calibration_of_another_shape(model: TinyNet, data: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="shape"):
        optimize(
            model,
            {**data, "calibration": [torch.zeros(4, 1, 9, 9)]},
            example_input=torch.zeros(2, 1, 8, 8),
        )


def test_nan_weights(data: dict[str, Any]) -> None:
    broken = TinyNet()
    nn.init.constant_(broken.conv2.weight, torch.nan)
    with pytest.raises(ModelError, match=r"conv2\.weight holds NaN"):
        optimize(broken, data)


def test_an_unwritable_folder_is_found_before_the_work(
    model: TinyNet, data: dict[str, Any], tmp_path: Path, calls: Calls
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        optimize(model, data, out=tmp_path / "file" / "run")
    assert calls.made == []


def test_negative_budget() -> None:
    with pytest.raises(UnitError, match="positive"):
        sq.Budget(flash="-1 KiB")


def test_stage_by_stage_as_in_the_readme(
    model: TinyNet, data: dict[str, Any], tmp_path: Path
) -> None:
    net = sq.capture(model, torch.zeros(2, 1, 8, 8))
    scores = sq.score(net, data["calibration"])
    plan = sq.search(
        net, scores, device="cortex-m7", budget=sq.Budget(flash="1000 B", latency="40 ms")
    )
    solution = sq.solve(net.table, scores, device="cortex-m7", budget=sq.Budget(flash="1000 B"))
    assert solution.totals["flash_bytes"] <= 1000
    qnet = sq.finetune(net, plan, data["train"], epochs=1)
    verification = sq.export(qnet, tmp_path / "model.onnx")
    assert verification.exact
    assert verification.differing == 0
    bits = json.dumps(plan.weight_bits)
    assert bits.encode() in (tmp_path / "model.onnx").read_bytes()


def test_gates_pass_without_accuracy(finished: tuple[sq.Result, Path]) -> None:
    from sigmaquant.config import GatesConfig, RunConfig

    unlabelled = finished[0].report.model_copy(update={"quality": ()})
    pipeline.check_gates(unlabelled, RunConfig(gates=GatesConfig(max_drop=0.0)))
