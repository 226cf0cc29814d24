"""Wall time of stages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping


class Stopwatch:
    """Seconds by stage; a stage that runs again adds to its time."""

    def __init__(self, earlier: Mapping[str, float] | None = None) -> None:
        self._seconds = dict(earlier or {})

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time to that stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self._seconds[name] = round(self._seconds.get(name, 0.0) + spent, 4)

    @property
    def seconds(self) -> dict[str, float]:
        """A copy of what was counted."""
        return dict(self._seconds)
