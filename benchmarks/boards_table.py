"""The boards' tables: errors by core and calibration, then of every board."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks.results import BenchResult, BenchRow

UNCALIBRATED = "uncalibrated"
FROM_OTHERS = "from both others"

_FROM = "from "
_PROTOTYPE = "prototype "
_TARGETS_PERCENT = {"none": 17, "one other network": 14, "both other networks": 15}


def from_network(name: str) -> str:
    """How a prediction calibrated with one network is called."""
    return f"{_FROM}{name}"


def by_prototype(by: str) -> str:
    """How a prediction from the prototype kernels' profile is called."""
    return f"{_PROTOTYPE}{by}"


def _percent(row: BenchRow, by: str) -> float:
    assert row.predicted_ms is not None, "a row of this benchmark has predictions"
    return 100 * (row.predicted_ms[by] / row.value - 1)


CALIBRATIONS: dict[str, Callable[[str], bool]] = {
    "none": lambda by: by == UNCALIBRATED,
    "one other network": lambda by: by.startswith(_FROM) and by != FROM_OTHERS,
    "both other networks": lambda by: by == FROM_OTHERS,
}
"""Which predictions of a network belong to what the profile was calibrated with."""

KERNELS = {"prototype": _PROTOTYPE, "C export": ""}
"""Begin of the predictions' names, by whose cycles the profile has."""


def _errors(row: BenchRow, kernels: str, calibration: str) -> list[float]:
    """In percent, of one network on one board."""
    own = [
        (by, by.removeprefix(KERNELS[kernels]))
        for by in row.predicted_ms or {}
        if by.startswith(_PROTOTYPE) is (kernels == "prototype")
    ]
    return [_percent(row, by) for by, plain in own if CALIBRATIONS[calibration](plain)]


def boards_lines(result: BenchResult) -> list[str]:
    """Markdown of both tables."""
    return ["", *_summary(result.rows), "", *_boards(result.rows)]


def _summary(rows: Sequence[BenchRow]) -> list[str]:
    cores = sorted({_core(row) for row in rows})
    groups = {core: [row for row in rows if _core(row) == core] for core in cores}
    lines = _head(["kernels", "calibrated with", "target", *["all", *cores]])
    for kernels, calibration in itertools.product(KERNELS, CALIBRATIONS):
        cells = [_spread(own, kernels, calibration) for own in (rows, *groups.values())]
        target = f"{_TARGETS_PERCENT[calibration]} %"
        lines.append(_line([kernels, calibration, target, *cells]))
    return lines


def _spread(rows: Iterable[BenchRow], kernels: str, calibration: str) -> str:
    """Median of the absolute errors, and the range of the signed ones."""
    found = [error for row in rows for error in _errors(row, kernels, calibration)]
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
