"""Wall time of stages."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence


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


def interleaved_ms(
    calls: Sequence[Callable[[], object]], *, warm_up: int, rounds: int
) -> list[float]:
    """Median time of each call.

    They take turns, so that what else the machine does falls on all of them alike.

    Args:
        calls: what is timed.
        warm_up: turns of each that do not count.
        rounds: turns of each that do.
    """
    times_ms: list[list[float]] = [[] for _ in calls]
    for _ in range(warm_up + rounds):
        for call, series in zip(calls, times_ms, strict=True):
            begin = time.perf_counter()
            call()
            series.append((time.perf_counter() - begin) * 1e3)
    return [statistics.median(series[warm_up:]) for series in times_ms]
