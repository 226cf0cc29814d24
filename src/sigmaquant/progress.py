"""Progress of long work, on stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_drawn: ContextVar[bool] = ContextVar("drawn", default=False)
"""Whether a bar is there already."""


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar while the block runs; the yielded function advances it by one step.

    Nothing is drawn where stderr is not a terminal, where the package's logger has been told to
    keep quiet, or inside another bar: work that measures many plans shows how many, not the steps
    of each. The bar is removed when the block ends.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    quiet = logging.getLogger("sigmaquant").level > logging.INFO or not console.is_terminal
    inner = _drawn.get()
    outer = _drawn.set(True)
    try:
        with Progress(*columns, console=console, transient=True, disable=quiet or inner) as bar:
            task = bar.add_task(description, total=total)
            yield lambda: bar.advance(task)
    finally:
        _drawn.reset(outer)
