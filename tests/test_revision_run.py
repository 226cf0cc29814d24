"""A plan that is revised after fine-tuning, within a run and by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

import sigmaquant as sq
from sigmaquant import run_stages, run_tuning
from sigmaquant.errors import ArtifactError, ConfigError, DataError
from sigmaquant.report import RunReport, guarantees
from sigmaquant.run_directory import StageRecords
from sigmaquant.search import Solution
from sigmaquant.search.problem import problem
from sigmaquant.search.solution import solution

BUDGET = sq.Budget(flash="1500 B")
POOR = {"0": 3, "2": 6, "4": 2}
"""The smallest layer at 2 bits, though 8 fit the budget: some neighbours are far better."""


def images() -> Tensor:
    pixels, _ = datasets.load_digits(return_X_y=True)
    return torch.tensor(pixels, dtype=torch.float32) / 16


@pytest.fixture(scope="module")
def model() -> nn.Module:
    x, labels = images(), torch.tensor(datasets.load_digits(return_X_y=True)[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)
        )
        optimizer = torch.optim.Adam(made.parameters(), 0.01)
        for _ in range(150):
            drawn = torch.randint(1200, (64,))
            optimizer.zero_grad()
            F.cross_entropy(made(x[drawn]), labels[drawn]).backward()
            optimizer.step()
    return made.eval()


def poor_search(*asked: Any) -> Solution:
    """In place of the search: a plan that a revision can better."""
    scores, costs, budget, _, bits, _ = asked
    question = problem(scores, costs, budget, bits)
    chosen = question.choices.index(POOR)
    return solution(question, chosen, strategy="poor", status="feasible", gap=None, seconds=0.0)


@pytest.fixture
def poor_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_stages, "search", poor_search)


def optimize(model: nn.Module, **options: Any) -> sq.Result:
    x = images()
    given = {
        "calibration": x[:256].split(64),
        "train": x[:512].split(64),
        "device": "cortex-m4",
        "budget": BUDGET,
        "epochs": 2,
        "learning_rate": 0.003,
        "revise": True,
    }
    return sq.optimize(model, **{**given, **options})


@pytest.mark.usefixtures("poor_plan")
def test_a_better_neighbour_is_trained_again_and_taken(model: nn.Module, tmp_path: Path) -> None:
    result = optimize(model, out=tmp_path)
    revision = result.report.revision
    assert revision is not None
    assert revision.taken
    assert revision.moves.kept >= 1
    before, moved, again = (
        revision.moves.loss_before,
        revision.moves.loss_after,
        revision.loss_again,
    )
    assert before is not None
    assert moved is not None
    assert again is not None
    assert again <= moved < 0.5 * before
    # The plan of the result, everywhere.
    assert result.plan.weight_bits["4"] > POOR["4"]
    assert result.plan == result.network.plan == sq.BitPlan.load(tmp_path / "plan.json")
    bits = {layer.name: layer.weight_bits for layer in result.report.layers}
    assert bits == result.plan.weight_bits
    assert result.report.solution.strategy == "revise"
    assert not result.report.broken_budgets
    assert result.report.exports[0].verified
    sentences = guarantees(result.report)
    assert any("Fine-tuned again" in text and "the result" in text for text in sentences)
    assert [time.stage for time in result.report.stage_times][6:10] == [
        "finetune",
        "revise",
        "finetune_again",
        "compare",
    ]
    network = sq.Network.load(tmp_path / "network.pt2")
    saved = sq.QuantizedNetwork.load(tmp_path / "finetuned_again.safetensors", network)
    torch.testing.assert_close(saved(images()[:4]), result.network(images()[:4]))


@pytest.mark.usefixtures("poor_plan")
def test_what_is_no_better_after_training_is_left(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tuning, "finite_mean", lambda losses: 9.9)
    result = optimize(model, out=tmp_path)
    revision = result.report.revision
    assert revision is not None
    assert revision.moves.kept >= 1
    assert (revision.loss_again, revision.taken) == (9.9, False)
    assert result.plan.weight_bits == POOR
    assert result.plan == sq.BitPlan.load(tmp_path / "plan.json")
    network = sq.Network.load(tmp_path / "network.pt2")
    first = sq.QuantizedNetwork.load(tmp_path / "finetuned.safetensors", network)
    torch.testing.assert_close(first(images()[:4]), result.network(images()[:4]))


def test_a_plan_without_a_better_neighbour_is_not_trained_again(
    model: nn.Module, tmp_path: Path
) -> None:
    result = optimize(model, out=tmp_path, budget=sq.Budget(flash="1000 B"))
    revision = result.report.revision
    assert revision is not None
    assert (revision.moves.kept, revision.loss_again, revision.taken) == (0, None, False)
    assert revision.moves.measurements > 1
    assert result.report.solution.strategy == "exact"
    assert result.plan == Solution.load(tmp_path / "revision.json").plan
    assert not (tmp_path / "finetuned_again.safetensors").exists()
    assert RunReport.load(tmp_path / "report.json").revision == revision


def test_without_being_asked_for_there_is_no_revision(model: nn.Module, tmp_path: Path) -> None:
    result = optimize(model, out=tmp_path, revise=False, epochs=1)
    assert result.report.revision is None
    assert (
        not {"revise", "finetune_again"} & StageRecords.load(tmp_path / "stages.json").stages.keys()
    )


class KilledError(Exception):
    pass


class Batches:
    """Training data that end the run after so many batches."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Iterator[Tensor]:
        for batch in images()[:512].split(64):
            self.left -= 1
            if self.left < 0:
                raise KilledError
            yield batch


@pytest.mark.usefixtures("poor_plan")
def test_a_killed_revision_goes_on(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise KilledError

    whole = optimize(model, out=tmp_path / "whole", train=Batches(99))
    options = {"out": tmp_path / "killed"}
    with monkeypatch.context() as patched:
        patched.setattr(run_tuning, "revise_plan", fail)
        with pytest.raises(KilledError):
            optimize(model, train=Batches(99), **options)
    # One batch is looked at first. Training has been done; the second one dies in its last epoch.
    with pytest.raises(KilledError):
        optimize(model, train=Batches(1 + 8 + 3), **options)
    assert list((tmp_path / "killed").glob("finetune_again-*.partial"))
    rest = Batches(1 + 8)
    with monkeypatch.context() as patched:
        patched.setattr(run_tuning, "revise_plan", fail)
        result = optimize(model, train=rest, **options)
    assert rest.left == 0
    assert result.report.revision == whole.report.revision
    files = [tmp_path / run / "model.onnx" for run in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list((tmp_path / "killed").glob("*.partial"))


@pytest.mark.parametrize("options", [{"train": None}, {"epochs": 0}])
def test_without_training_there_is_nothing_to_revise_after(
    model: nn.Module, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="revised after fine-tuning, and there is none"):
        optimize(model, **options)


@pytest.fixture(scope="module")
def tuned(model: nn.Module) -> sq.QuantizedNetwork:
    network = sq.capture(model, images()[:2])
    plan = sq.BitPlan.uniform(network.table, 8).with_weight_bits(POOR, origin="poor")
    return sq.finetune(network, plan, images()[:512].split(64), epochs=1)


@pytest.fixture(scope="module")
def scores(tuned: sq.QuantizedNetwork) -> sq.SensitivityTable:
    return sq.score(tuned.network, images()[:256].split(64))


def revise(tuned: sq.QuantizedNetwork, scores: sq.SensitivityTable, **options: Any) -> Any:
    given = {"device": "cortex-m4", "budget": BUDGET, "calibration": images()[:256].split(64)}
    return sq.revise(tuned, scores, **{**given, **options})


def test_stage_by_stage(tuned: sq.QuantizedNetwork, scores: sq.SensitivityTable) -> None:
    revised = revise(tuned, scores)
    assert revised.plan.origin == "revise"
    assert revised.plan.weight_bits["4"] > POOR["4"]
    again = sq.finetune(
        tuned.network, revised.plan, images()[:512].split(64), epochs=1, start=revised
    )
    x = images()[1200:]
    with torch.no_grad():
        wrong = [
            float((each(x).argmax(1) != tuned.network(x)[0].argmax(1)).float().mean())
            for each in (tuned, again)
        ]
    assert wrong[1] < wrong[0]


def test_the_network_comes_back_where_no_move_gains(
    tuned: sq.QuantizedNetwork, scores: sq.SensitivityTable
) -> None:
    wide = sq.BitPlan.uniform(tuned.network.table, 8)
    best = sq.quantize(tuned.network, wide, [images()[:64]])
    found = revise(best, scores, budget=sq.Budget())
    assert found is not best
    assert found.plan == best.plan
    assert all(torch.equal(value, best.state()[name]) for name, value in found.state().items())


def test_errors(tuned: sq.QuantizedNetwork, scores: sq.SensitivityTable) -> None:
    with pytest.raises(ConfigError, match=r"needs flash of .* and the budget is 1000 B"):
        revise(tuned, scores, budget=sq.Budget(flash="1000 B"))
    with pytest.raises(ConfigError, match="unknown rounding 'up'"):
        revise(tuned, scores, rounding="up")
    with pytest.raises(DataError, match="cannot be split"):
        revise(tuned, scores, calibration=[images()[:1]])
    network, threes = tuned.network, sq.BitPlan.uniform(tuned.network.table, 3)
    with pytest.raises(ArtifactError, match=r"widths \(uniform 3\) that .* does not offer"):
        revise(sq.quantize(network, threes, [images()[:64]]), scores, runtime="litert-small")
    narrow = sq.BitPlan.uniform(network.table, 8, 4)
    with pytest.raises(ArtifactError, match="give the device and runtime"):
        revise(sq.quantize(network, narrow, [images()[:64]]), scores)
