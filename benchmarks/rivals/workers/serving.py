"""The frame of every worker: task files in, answer files out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rivals.workers.exchange import Answer, Task


def serve(solve: Callable[[Task], Iterator[Answer]]) -> None:
    """Answer the task files named on the command line; each answer is written when it is found."""
    for path in sys.argv[1:]:
        task = Task.load(Path(path))
        for answer in solve(task):
            print("written", answer.save(Path(task.answers)), flush=True)
