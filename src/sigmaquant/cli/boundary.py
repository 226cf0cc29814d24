"""Where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from sigmaquant.errors import SigmaQuantError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells report it: 128 + SIGINT."""

_DEBUG = "sigmaquant.debug"


def show_tracebacks(context: typer.Context, value: bool) -> bool:
    """Callback of ``--debug``."""
    if value:
        context.meta[_DEBUG] = True
    return value


class Commands(TyperGroup):
    """The commands; what they raise on purpose ends as one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; the same command goes on where it stopped\n")
            raise typer.Exit(INTERRUPTED) from None
        except SigmaQuantError as error:
            if ctx.meta.get(_DEBUG):
                traceback.print_exc()
            else:
                sys.stderr.write(f"error: {error}\n")
            raise typer.Exit(error.exit_code) from None
