"""The ``sigmaquant`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from sigmaquant._version import __version__
from sigmaquant.cli.boundary import Commands
from sigmaquant.cli.capture import capture
from sigmaquant.cli.check import check
from sigmaquant.cli.demo import demo
from sigmaquant.cli.devices import devices
from sigmaquant.cli.export import export
from sigmaquant.cli.finetune import finetune
from sigmaquant.cli.output import log_to_stderr, print_line
from sigmaquant.cli.pareto import pareto
from sigmaquant.cli.quantize import quantize
from sigmaquant.cli.report import report
from sigmaquant.cli.revise import revise
from sigmaquant.cli.run import run
from sigmaquant.cli.score import score
from sigmaquant.cli.search import search
from sigmaquant.cli.verify import verify

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_ARROWS = (capture, check, score, search, pareto, quantize, finetune, revise, export, verify)
for command in (run, *_ARROWS, report, demo):
    app.command()(command)
app.add_typer(devices, name="devices")


def _show_version(value: bool) -> None:
    if value:
        print_line(__version__)
        raise typer.Exit


@app.callback()
def _sigmaquant(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Give every layer of a network its own bitwidth, under the budgets of a device.

    Exit codes: 0 done, 2 bad input, 3 no plan meets the budgets, 4 a check failed, 130 Ctrl-C.
    """
    log_to_stderr()


def main() -> None:
    """Entry point of the command."""
    app(prog_name="sigmaquant")
