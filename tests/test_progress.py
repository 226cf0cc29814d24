from __future__ import annotations

import io

import pytest
from rich.console import Console

from sigmaquant import progress
from sigmaquant.progress import progress_bar


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What would be seen in a terminal."""
    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=100)
    )
    return shown


def test_a_bar_is_drawn_and_its_steps_are_counted(screen: io.StringIO) -> None:
    with progress_bar("scoring", 3) as advance:
        advance()
        advance()
    assert "scoring" in screen.getvalue()
    assert "2/3" in screen.getvalue()


def test_a_bar_inside_another_is_not_drawn(screen: io.StringIO) -> None:
    with progress_bar("refining", 2) as outer:
        with progress_bar("rounding", 5) as inner:
            inner()
        outer()
    assert "1/2" in screen.getvalue()
    assert "rounding" not in screen.getvalue()
    with progress_bar("rounding", 5):
        pass
    assert "rounding" in screen.getvalue()


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("scoring", 1) as advance:
        advance()
    assert capsys.readouterr().err == ""
