"""What the commands print, and how loudly they log."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_LOGGER = logging.getLogger("sigmaquant")
_PIPED_COLUMNS = 160


def log_to_stderr() -> None:
    """Let the package's messages appear, without decoration."""
    # What torch.export warns of in its own code is no use to a user of this command.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.INFO)


def quieten(value: bool) -> bool:
    """Callback of ``--quiet``: warnings and errors only."""
    if value:
        _LOGGER.setLevel(logging.WARNING)
    return value


def console() -> Console:
    """Where results are printed; into a pipe or a file, with room for long names of layers."""
    narrow = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return Console(file=sys.stdout, highlight=False, width=None if narrow else _PIPED_COLUMNS)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> None:
    """Print a table whose first columns are text and whose others are figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index < text_columns else "right"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def print_line(text: str) -> None:
    """Print one line of result as it is."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Print a plain value as JSON."""
    print_line(json.dumps(value, indent=1))
