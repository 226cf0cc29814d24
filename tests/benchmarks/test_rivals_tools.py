from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.rivals import environments, tools
from benchmarks.rivals.environments import WorkerError, python_of, requirements_of, run_worker
from benchmarks.rivals.tools import RIVALS, Request, Rival, answers, rival_versions
from benchmarks.rivals.workers.exchange import Answer, Task
from sigmaquant.layers import LayerKind, LayerSpec, LayerTable

ENVIRONMENTS = sorted({rival.environment for rival in RIVALS.values()})


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_requirement_is_pinned_and_names_no_place(name: str) -> None:
    lines = requirements_of(name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)
    assert not any(mark in line for line in pins for mark in ("/", "@", "+", "--"))
    assert "torch==2.13.0" in pins


def test_the_versions_are_those_that_are_compared() -> None:
    assert rival_versions() == {
        "model-compression-toolkit": "2.6.1",
        "nvidia-modelopt": "0.47.0",
        "aimet-torch": "2.42.0",
    }


def test_a_tool_without_budget_answers_once() -> None:
    assert RIVALS["mct"].budgets([4.0, 3.0]) == (4.0, 3.0)
    assert RIVALS["aimet"].budgets([4.0, 3.0]) == (None,)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run."""
    seen: list[list[str]] = []

    def run(command: Sequence[str], log: Path) -> None:
        if command[1:3] == ["-m", "venv"]:
            Path(command[-1]).mkdir(parents=True)
        seen.append(list(command))

    monkeypatch.setattr(environments, "_run", run)
    return seen


def test_an_environment_is_made_once(tmp_path: Path, commands: list[list[str]]) -> None:
    python = python_of("mct", tmp_path)
    assert python == tmp_path / "mct" / "bin" / "python"
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert commands[1][0] == str(python)
    assert commands[1][-1] == str(requirements_of("mct"))
    assert python_of("mct", tmp_path) == python
    assert len(commands) == 2


def test_other_requirements_make_it_anew(tmp_path: Path, commands: list[list[str]]) -> None:
    python_of("mct", tmp_path)
    (tmp_path / "mct" / "installed.txt").write_text("torch==1.0\n")
    (tmp_path / "mct").rename(tmp_path / "old")
    python_of("mct", tmp_path)
    assert len(commands) == 4


def test_a_worker_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "python_of", lambda name, folder: Path(sys.executable))
    with pytest.raises(WorkerError, match=r"(?s)no_such_tool.*ended with 1.*No module named"):
        run_worker("no_such_tool", [], tmp_path / "new" / "log.txt", tmp_path)


TABLE = LayerTable(
    network="Tiny",
    layers=(
        LayerSpec(
            name="stem",
            kind=LayerKind.LINEAR,
            weight_shape=(2, 3),
            input_shape=(3,),
            output_shape=(2,),
            macs=6,
            input_groups=("in",),
            output_group=None,
        ),
    ),
    tensors=(),
    steps=(),
)


def requests_in(folder: Path) -> list[Request]:
    task = Task("digits", "w", "c", "t", (4.0, 3.0), str(folder / "answers"))
    return [Request(folder / "task.json", task, float_nll_nats=0.5)]


def answering(monkeypatch: pytest.MonkeyPatch, layer: str = "stem", nll: float = 0.5) -> None:
    def worker(name: str, paths: Sequence[Path], log: Path) -> None:
        for path in paths:
            task = Task.load(path)
            for bits in (*task.budgets_bits, None):
                Answer(bits, {layer: 3}, 0.9, 0.4, nll).save(Path(task.answers))

    monkeypatch.setattr(tools, "run_worker", worker)


@pytest.mark.parametrize(("name", "budgets"), [("mct", [4.0, 3.0]), ("aimet", [None])])
def test_the_answers_of_every_budget_are_read(
    name: str, budgets: list[float | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch)
    (found,) = answers(RIVALS[name], requests_in(tmp_path), TABLE)
    assert [answer.budget_bits for answer in found] == budgets


def test_without_requests_nothing_runs() -> None:
    assert answers(Rival("none", "absent", "absent"), [], TABLE) == []


def test_widths_of_other_layers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, layer="conv1")
    with pytest.raises(
        WorkerError, match="MCT chose widths of other layers than ours: conv1, stem"
    ):
        answers(RIVALS["mct"], requests_in(tmp_path), TABLE)


def test_another_network_or_other_samples_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, nll=0.51)
    with pytest.raises(WorkerError, match=r"0\.510000 there and 0\.500000 here"):
        answers(RIVALS["mct"], requests_in(tmp_path), TABLE)
