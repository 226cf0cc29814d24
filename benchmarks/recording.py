"""Rows on disk as they are measured, and taken up again after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.results import BenchResult, BenchRow
from sigmaquant.errors import ConfigError


class Recorder:
    """Rows as they come, on disk after each one.

    Args:
        result: with the rows that need not be measured again.
        folder: where its file is written.
    """

    def __init__(self, result: BenchResult, folder: Path) -> None:
        self.result = result
        self._folder = folder

    def has(self, network: str, variant: str) -> bool:
        """Whether that row was measured."""
        return self.result.row(network, variant) is not None

    def row(self, network: str, variant: str, measure: Callable[[], BenchRow]) -> BenchRow:
        """The row of that variant, measured and written now unless it was before."""
        known = self.result.row(network, variant)
        if known is not None:
            return known
        row = measure()
        self.result = self.result.with_row(row)
        self.result.save(self._folder)
        print(_summary(row), flush=True)
        return row


def begin(fresh: BenchResult, folder: Path, resume: bool) -> BenchResult:
    """The result to add rows to: a fresh one, or an earlier one of the same conditions.

    Raises:
        ConfigError: the earlier one was measured under other conditions.
    """
    path = folder / f"{fresh.bench}.json"
    if not resume or not path.is_file():
        return fresh
    earlier = BenchResult.load(path)
    if not earlier.comparable(fresh):
        raise ConfigError(
            f"{path} was measured with another command, other versions, on another machine or "
            "from another seed: start anew without --resume"
        )
    return earlier


def _summary(row: BenchRow) -> str:
    parts = [f"{row.network:10} {row.variant:24} {_value(row)}"]
    if row.file_bytes is not None:
        parts.append(f"{row.file_bytes:>9,} bytes")
    if row.latency_ratio_float is not None:
        parts.append(f"{row.latency_ratio_float:.2f} x time")
    if row.nll_nats is not None:
        parts.append(f"NLL {row.nll_nats:.4f}")
    return "  ".join([*parts, f"{sum(row.seconds.values()):7.1f} s"])


def _value(row: BenchRow) -> str:
    if row.against_float is None:
        return f"{row.value:,.0f} {row.metric}"
    return f"{row.value:6.2f} % ({row.against_float:+.2f})"
