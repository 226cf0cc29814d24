"""Options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli.boundary import show_tracebacks
from sigmaquant.cli.output import quieten

_TARGET = "Device and budgets"
_DATA = "Model and data"
_OUTPUT = "Output"

Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Function or class that builds the model: [b]package.module:name[/b] or "
        "[b]file.py:name[/b]; or a [b].pt2[/b] file.",
        rich_help_panel=_DATA,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Safetensors file with the model's state dict.", rich_help_panel=_DATA),
]
Calibration = Annotated[
    str,
    typer.Option(
        "--calibration",
        metavar="DATA",
        help="A .npz file, a folder of images with class subfolders, or package.module:function "
        "that returns a DataLoader. Needs no labels.",
        rich_help_panel=_DATA,
    ),
]
Training = Annotated[
    str,
    typer.Option("--training", metavar="DATA", help="Labelled data.", rich_help_panel=_DATA),
]
Evaluation = Annotated[
    str,
    typer.Option(
        "--evaluation",
        metavar="DATA",
        help="Labelled data that the accuracy is reported on.",
        rich_help_panel=_DATA,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples in a batch.", rich_help_panel=_DATA)]
CalibrationSamples = Annotated[
    int,
    typer.Option(min=1, help="Samples read for calibration, at most.", rich_help_panel=_DATA),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Name of a device (see [b]sigmaquant devices list[/b]) or a TOML profile.",
        rich_help_panel=_TARGET,
    ),
]
Flash = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help='Such as "96KiB".', rich_help_panel=_TARGET),
]
Ram = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help='Such as "64KiB".', rich_help_panel=_TARGET),
]
Latency = Annotated[
    str | None,
    typer.Option(metavar="TIME", help='Such as "40ms".', rich_help_panel=_TARGET),
]
Energy = Annotated[
    str | None,
    typer.Option(metavar="ENERGY", help='Such as "3.2mJ".', rich_help_panel=_TARGET),
]
Seed = Annotated[int, typer.Option(min=0, help="Of every random draw.", rich_help_panel=_OUTPUT)]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no logs on stderr.",
        callback=quieten,
        rich_help_panel=_OUTPUT,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=show_tracebacks,
        rich_help_panel=_OUTPUT,
    ),
]
