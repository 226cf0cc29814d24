"""The calibration check in the views of a report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sigmaquant.calibration_check import CalibrationCheck, Finding
from sigmaquant.report import RunReport, print_report, render_html

HEADLINE = "512 calibration samples against 2,000 deployment samples: 1 warning, 1 note."


def printed(report: RunReport) -> str:
    out = io.StringIO()
    print_report(report, Console(file=out, width=80))
    return out.getvalue()


@pytest.fixture
def check(report: RunReport) -> CalibrationCheck:
    assert report.calibration is not None
    return report.calibration


def test_the_terminal_tells_how_much_was_found_and_every_note(report: RunReport) -> None:
    text = printed(report)
    assert max(map(len, text.splitlines())) <= 80
    text = " ".join(text.split())
    assert f"Calibration check: {HEADLINE}" in text
    assert "Note: The scores are unstable. Score with more samples: 384 -> about 500." in text


def test_a_report_without_a_check_says_nothing_of_it(minimal_report: RunReport) -> None:
    assert "Calibration check" not in printed(minimal_report)
    assert '"CALIBRATION_HEADLINE":null' in render_html(minimal_report)


def test_comes_back_from_json(report: RunReport, check: CalibrationCheck, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())["calibration"]
    assert saved["findings"][0]["where"] == ["conv1", "layer1.0.conv1"]
    assert RunReport.load(tmp_path / "report.json").calibration == check


def test_the_page_holds_headline_and_findings(report: RunReport) -> None:
    page = render_html(report)
    assert HEADLINE in page
    assert "Prepare both in the same way." in page


def test_names_are_no_control_codes(report: RunReport, check: CalibrationCheck) -> None:
    note = check.notes[0].model_copy(update={"what": "At \x1b[31mred\x1b[0m."})
    hostile = check.model_copy(update={"findings": (note,)})
    text = printed(report.model_copy(update={"calibration": hostile}))
    assert "\x1b" not in text
    assert "Note: At ?[31mred?[0m." in text


def test_numbers_that_json_cannot_hold_are_refused(check: CalibrationCheck) -> None:
    with pytest.raises(ValueError, match="finite"):
        Finding.model_validate({**check.findings[0].model_dump(), "value": float("nan")})
