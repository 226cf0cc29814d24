"""The rivals' tables: one a network, a line for each tool and budget, draws taken together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks.results import BenchResult, BenchRow

_BLANK = "-"

Draws = Sequence[BenchRow]


def _spread(template: str, values: Iterable[float | None]) -> str:
    """The mean, and half the range where there are several draws."""
    known = [value for value in values if value is not None]
    if not known:
        return _BLANK
    mean = template.format(statistics.fmean(known))
    if len(known) == 1:
        return mean
    return f"{mean} ± {template.format((max(known) - min(known)) / 2)}"


def _allocation_seconds(row: BenchRow) -> float | None:
    """Everything before the widths were known; None where nothing was searched."""
    stages = [value for stage, value in row.seconds.items() if stage != "quantize"]
    return sum(stages) if stages else None


COLUMNS: dict[str, Callable[[Draws], str]] = {
    "budget": lambda draws: _BLANK if (b := draws[0].budget_bits) is None else f"{b:g} bits",
    "widths by": lambda draws: draws[0].tool or _BLANK,
    "rounding": lambda draws: draws[0].rounding or _BLANK,
    "accuracy": lambda draws: _spread("{:.2f}", [row.value for row in draws]),
    "NLL": lambda draws: _spread("{:.4f}", [row.nll_nats for row in draws]),
    "bytes": lambda draws: _spread("{:,.0f}", [row.weight_bytes for row in draws]),
    "allocation s": lambda draws: _spread("{:.2f}", map(_allocation_seconds, draws)),
    "rounding s": lambda draws: _spread("{:.2f}", [row.seconds.get("quantize") for row in draws]),
    "gap": lambda draws: _spread("{:.1%}", [row.objective_gap for row in draws]),
}


def rivals_lines(result: BenchResult) -> list[str]:
    """Markdown of all tables."""
    networks: dict[str, list[BenchRow]] = {}
    for row in result.rows:
        networks.setdefault(row.network, []).append(row)
    lines: list[str] = []
    for network, rows in networks.items():
        lines += ["", f"{network}, {rows[0].samples:,} test samples:", ""]
        lines += [_line(list(COLUMNS)), _line(["---"] * len(COLUMNS))]
        lines += (_line([cell(draws) for cell in COLUMNS.values()]) for draws in _grouped(rows))
    return lines


def _grouped(rows: Iterable[BenchRow]) -> list[list[BenchRow]]:
    """Rows that differ by their draw alone; the float network, then budgets from the largest."""
    groups: dict[tuple[float | None, str | None, str | None], list[BenchRow]] = {}
    for row in rows:
        groups.setdefault((row.budget_bits, row.tool, row.rounding), []).append(row)
    return sorted(groups.values(), key=lambda draws: _order(draws[0]))


def _order(row: BenchRow) -> float:
    """Place of a row's group: stable sorting keeps the order of measurement within a budget."""
    if row.rounding is None:
        return float("-inf")
    return float("inf") if row.budget_bits is None else -row.budget_bits


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
