from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from benchmarks.rivals import workers
from benchmarks.rivals.workers.exchange import (
    Answer,
    Clock,
    Samples,
    Task,
    accuracy_and_nll,
    answer_path,
    weight_layers,
)
from benchmarks.rivals.workers.networks import BUILDERS
from benchmarks.rivals.workers.serving import serve

SOURCES = sorted(Path(workers.__file__).parent.glob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_workers_import_nothing_of_ours_but_each_other(path: Path) -> None:
    ours = [name for name in imported(path) if name.split(".")[0] in ("sigmaquant", "benchmarks")]
    assert all(name.startswith("benchmarks.rivals.workers") for name in ours)


def task_in(folder: Path, **changes: object) -> Task:
    fields = {
        "network": "digits",
        "weights": str(folder / "weights.safetensors"),
        "calibration": "c.npz",
        "test": "t.npz",
        "budgets_bits": (4.0, 2.5),
        "answers": str(folder / "answers"),
    }
    return Task(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_task_reads_back_equal(tmp_path: Path) -> None:
    task = task_in(tmp_path, loss_factor=1000.0)
    task.save(tmp_path / "new" / "task.json")
    assert Task.load(tmp_path / "new" / "task.json") == task


def test_a_task_gives_the_network_with_its_weights(tmp_path: Path) -> None:
    trained = BUILDERS["digits"]().eval()
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    module = task_in(tmp_path).module()
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not module.training
    assert torch.equal(module(x), trained(x))


def test_answers_read_back_equal_from_the_path_of_their_budget(tmp_path: Path) -> None:
    for budget_bits in (2.5, None):
        answer = Answer(budget_bits, {"stem": 3}, 0.5, 1.25, 0.75, {"allocate": 2.0})
        assert answer.save(tmp_path) == answer_path(tmp_path, budget_bits)
        assert Answer.load(answer_path(tmp_path, budget_bits)) == answer
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer-2.5.json", "answer.json"]


def test_samples_read_back_and_can_be_chosen(tmp_path: Path) -> None:
    samples = Samples(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0]))
    samples.save(tmp_path / "s.npz")
    read = Samples.load(tmp_path / "s.npz")
    assert torch.equal(read.inputs, samples.inputs)
    assert torch.equal(read.labels, samples.labels)
    assert read.at(torch.tensor([2, 0])).inputs.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert len(read.first(2)) == 2
    assert len(read.first(None)) == 3
    assert [len(labels) for _, labels in read.batches(2)] == [2, 1]


def test_accuracy_and_nll_of_known_probabilities() -> None:
    samples = Samples(torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([1, 0]))
    accuracy, nll = accuracy_and_nll(torch.log, samples)
    assert accuracy == pytest.approx(0.5)
    assert nll == pytest.approx(-(math.log(0.5) + math.log(0.9)) / 2, rel=1e-6)


def test_a_clock_adds_the_times_of_a_stage() -> None:
    clock = Clock()
    with clock.stage("allocate"):
        pass
    first = clock.seconds["allocate"]
    with clock.stage("allocate"):
        pass
    assert clock.seconds["allocate"] > first > 0


@pytest.mark.parametrize(
    ("name", "weights", "layers"),
    [
        ("digits", 77_072, 10),
        ("resnet8", 77_360, 10),
        ("resnet20", 268_336, 20),
        ("dscnn", 22_016, 10),
    ],
)
def test_the_counted_weights_of_each_network(name: str, weights: int, layers: int) -> None:
    found = weight_layers(BUILDERS[name]())
    assert len(found) == layers
    assert sum(layer.weight.numel() for layer in found.values()) == weights
    assert not any("." in layer for layer in found)


def test_serving_answers_every_task_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in paths:
        task_in(tmp_path, answers=str(tmp_path / path.stem)).save(path)

    def solve(task: Task) -> Iterator[Answer]:
        for bits in task.budgets_bits:
            yield Answer(bits, {"stem": 2}, 1.0, 0.0, 0.0)

    monkeypatch.setattr("sys.argv", ["worker", *map(str, paths)])
    serve(solve)
    for path in paths:
        names = sorted(answer.name for answer in (tmp_path / path.stem).iterdir())
        assert names == ["answer-2.5.json", "answer-4.json"]
