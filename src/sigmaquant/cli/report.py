"""``sigmaquant report``: a run's report, printed and drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.artifact import written_atomically
from sigmaquant.cli import options
from sigmaquant.cli.output import console, print_line
from sigmaquant.errors import ArtifactError
from sigmaquant.report import RunReport, print_report, render_html


def report(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run, or its report.json.")
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page there as well.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Print the report of a finished run.

    Example: sigmaquant report runs/resnet8 --html report.html
    """
    loaded = RunReport.load(_report_file(source))
    if html is not None:
        with written_atomically(html) as temporary:
            temporary.write_text(render_html(loaded), encoding="utf-8")
    if json:
        print_line(loaded.model_dump_json(indent=1))
    else:
        print_report(loaded, console())


def _report_file(source: Path) -> Path:
    if not source.is_dir():
        return source
    file = source / "report.json"
    if not file.exists():
        raise ArtifactError(
            f"{source} holds no report.json, so no run has finished there; start its sigmaquant "
            "run again, and it goes on where it stopped"
        )
    return file
