"""Stages on disk: what is made again and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigmaquant import run_directory
from sigmaquant.errors import OutputError
from sigmaquant.run_directory import Form, RunDirectory

TEXT: Form[str] = Form(save=lambda text, path: path.write_text(text) and None, load=Path.read_text)


class Counted:
    """Makes a text and counts how often."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return self.text


def run(folder: Path, first: Counted, second: Counted, setting: int = 0) -> str:
    """Two stages, the second of which depends on the first."""
    directory = RunDirectory(folder)
    directory.stage("first", "1.txt", inputs=[setting], make=first, form=TEXT)
    inputs = [directory.content("first")]
    return directory.stage("second", "2.txt", inputs=inputs, make=second, form=TEXT)


def test_the_same_inputs_run_once(tmp_path: Path) -> None:
    first, second = Counted("a"), Counted("b")
    assert run(tmp_path, first, second) == run(tmp_path, first, second) == "b"
    assert (first.made, second.made) == (1, 1)


def test_a_change_reruns_what_depends_on_it(tmp_path: Path) -> None:
    second = Counted("b")
    run(tmp_path, Counted("a"), second)
    run(tmp_path, Counted("changed"), second, setting=1)
    assert second.made == 2


def test_a_change_without_effect_stops_there(tmp_path: Path) -> None:
    first, second = Counted("a"), Counted("b")
    run(tmp_path, first, second)
    run(tmp_path, first, second, setting=1)
    assert (first.made, second.made) == (2, 1)


@pytest.mark.parametrize("damage", ["edit", "delete"])
def test_a_file_that_is_not_what_was_written_is_made_again(tmp_path: Path, damage: str) -> None:
    first, second = Counted("a"), Counted("b")
    run(tmp_path, first, second)
    if damage == "edit":
        (tmp_path / "1.txt").write_text("edited")
    else:
        (tmp_path / "1.txt").unlink()
    run(tmp_path, first, second)
    assert (first.made, second.made) == (2, 1)
    assert (tmp_path / "1.txt").read_text() == "a"


def test_another_version_runs_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Counted("a"), Counted("b")
    run(tmp_path, first, second)
    monkeypatch.setattr(run_directory, "__version__", "99")
    run(tmp_path, first, second)
    assert (first.made, second.made) == (2, 2)


def test_a_failing_stage_leaves_the_earlier_ones(tmp_path: Path) -> None:
    first = Counted("a")

    def fail() -> str:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run(tmp_path, first, fail)  # type: ignore[arg-type]
    run(tmp_path, first, Counted("b"))
    assert first.made == 1


def test_damaged_records_run_everything_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Counted("a")
    run(tmp_path, first, Counted("b"))
    (tmp_path / "stages.json").write_text("{")
    run(tmp_path, first, Counted("b"))
    assert first.made == 2
    assert "all stages run again" in caplog.text


def test_times_of_the_first_run_are_kept(tmp_path: Path) -> None:
    times = []
    for _ in range(2):
        directory = RunDirectory(tmp_path)
        directory.stage("first", "1.txt", inputs=[], make=Counted("a"), form=TEXT)
        times.append(directory.seconds)
    assert list(times[0]) == ["first"]
    assert times[0] == times[1]


def test_an_unwritable_place_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        RunDirectory(tmp_path / "file" / "run")
