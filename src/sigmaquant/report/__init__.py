"""What a run found, for people: in the terminal, as ``report.json`` and as ``report.html``.

A plan that nobody can question is not trusted. So one record, `RunReport`, holds every figure of a
run together with the evidence behind it, and each view is a pure function of that record: a saved
``report.json`` is enough to print or draw it again. The page is one file that needs no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sigmaquant.artifact import written_atomically
from sigmaquant.report.guarantees import guarantees
from sigmaquant.report.html import render_html
from sigmaquant.report.model import (
    BudgetUse,
    CloseCall,
    ComparedPlan,
    ExportedFile,
    LayerResult,
    LayerScore,
    Provenance,
    Quality,
    Refinement,
    Revision,
    RunReport,
    Scoring,
    Solution,
    StageTime,
    Target,
)
from sigmaquant.report.summary import headline
from sigmaquant.report.terminal import print_report

__all__ = [
    "BudgetUse",
    "CloseCall",
    "ComparedPlan",
    "ExportedFile",
    "LayerResult",
    "LayerScore",
    "Provenance",
    "Quality",
    "Refinement",
    "ReportFiles",
    "Revision",
    "RunReport",
    "Scoring",
    "Solution",
    "StageTime",
    "Target",
    "guarantees",
    "headline",
    "print_report",
    "render_html",
    "write_report",
]


class ReportFiles(NamedTuple):
    """Where a report was written."""

    json: Path
    html: Path


def write_report(report: RunReport, folder: str | Path) -> ReportFiles:
    """Write ``report.json`` and ``report.html``; each appears whole or not at all.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    files = ReportFiles(Path(folder) / "report.json", Path(folder) / "report.html")
    report.save(files.json)
    with written_atomically(files.html) as temporary:
        temporary.write_text(render_html(report), encoding="utf-8", newline="\n")
    return files
