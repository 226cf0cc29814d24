"""The boards' tables: errors by core and calibration, then of every board."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks.results import BenchResult, BenchRow

UNCALIBRATED = "uncalibrated"
FROM_OTHERS = "from both others"

_FROM = "from "
_TARGETS_PERCENT = {"none": 17, "one other network": 14, "both other networks": 15}


def from_network(name: str) -> str:
    """How a prediction calibrated with one network is called."""
    return f"{_FROM}{name}"


def _percent(row: BenchRow, by: str) -> float:
    assert row.predicted_ms is not None, "a row of this benchmark has predictions"
    return 100 * (row.predicted_ms[by] / row.value - 1)


def _one_network_errors(row: BenchRow) -> list[float]:
    names = row.predicted_ms or {}
    return [_percent(row, by) for by in names if by not in (UNCALIBRATED, FROM_OTHERS)]


ERRORS: dict[str, Callable[[BenchRow], list[float]]] = {
    "none": lambda row: [_percent(row, UNCALIBRATED)],
    "one other network": _one_network_errors,
    "both other networks": lambda row: [_percent(row, FROM_OTHERS)],
}
"""Errors in percent of one network on one board, by what the profile was calibrated with."""


def boards_lines(result: BenchResult) -> list[str]:
    """Markdown of both tables."""
    return ["", *_summary(result.rows), "", *_boards(result.rows)]


def _summary(rows: Sequence[BenchRow]) -> list[str]:
    cores = sorted({_core(row) for row in rows})
    groups = {core: [row for row in rows if _core(row) == core] for core in cores}
    lines = _head(["calibrated with", "target", *["all", *cores]])
    for calibration, errors in ERRORS.items():
        cells = [_spread(errors, own) for own in (rows, *groups.values())]
        lines.append(_line([calibration, f"{_TARGETS_PERCENT[calibration]} %", *cells]))
    return lines


def _spread(errors: Callable[[BenchRow], list[float]], rows: Iterable[BenchRow]) -> str:
    """Median of the absolute errors, and the range of the signed ones."""
    found = [error for row in rows for error in errors(row)]
    median = statistics.median(map(abs, found))
    return f"{median:.1f} % ({min(found):+.0f} .. {max(found):+.0f})"


def _boards(rows: Sequence[BenchRow]) -> list[str]:
    boards: dict[str, list[BenchRow]] = {}
    for row in rows:
        boards.setdefault(row.variant, []).append(row)
    networks = list(dict.fromkeys(row.network for row in rows))
    titles = [f"{name} {what}" for name in networks for what in ("ms", "predicted", "left out")]
    return [
        *_head(["board and stack", *titles]),
        *(
            _line([board, *(cell for row in own for cell in _board_cells(row))])
            for board, own in sorted(boards.items())
        ),
    ]


def _board_cells(row: BenchRow) -> list[str]:
    shown = (_percent(row, by) for by in (UNCALIBRATED, FROM_OTHERS))
    return [f"{row.value:.3g}", *(f"{error:+.0f} %" for error in shown)]


def _core(row: BenchRow) -> str:
    return row.variant.partition(":")[0]


def _head(titles: Sequence[str]) -> list[str]:
    return [_line(titles), _line(["---"] * len(titles))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
