from __future__ import annotations

from pathlib import Path

import pytest

import sigmaquant.report
from sigmaquant.errors import OutputError
from sigmaquant.report import RunReport, render_html, write_report


def test_writes_both_files_and_nothing_else(report: RunReport, tmp_path: Path) -> None:
    files = write_report(report, tmp_path / "new" / "run")
    assert RunReport.load(files.json) == report
    assert files.html.read_text(encoding="utf-8") == render_html(report)
    assert sorted(p.name for p in files.html.parent.iterdir()) == ["report.html", "report.json"]


def test_writes_over_an_older_report(report: RunReport, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    newer = report.model_copy(update={"network": "Newer"})
    files = write_report(newer, tmp_path)
    assert RunReport.load(files.json).network == "Newer"
    assert "Newer" in files.html.read_text(encoding="utf-8")


def test_says_which_folder_cannot_be_made(report: RunReport, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OutputError, match=r"file.report\.json"):
        write_report(report, blocked)


def test_every_public_name_exists() -> None:
    for name in sigmaquant.report.__all__:
        assert hasattr(sigmaquant.report, name)
    assert sigmaquant.report.__all__ == sorted(sigmaquant.report.__all__)
