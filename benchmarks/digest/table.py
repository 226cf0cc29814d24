"""The headline table: what each network lost at each size, and what the digest says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.digest.reductions import COSTS, DEVICES
from benchmarks.results import BenchResult, BenchRow

CHOOSING = ("capture", "score", "search", "quantize")
"""Stages behind a plan without training."""

_BLANK = "-"


def _number(template: str, value: float | None) -> str:
    return _BLANK if value is None else template.format(value)


def _reduction(row: BenchRow, device: str) -> str:
    if row.cost_reductions is None:
        return _BLANK
    return " / ".join(f"{row.cost_reductions[f'{device} {cost}']:.2f}" for cost in COSTS)


def _choosing_seconds(row: BenchRow) -> str:
    seconds = [row.seconds[stage] for stage in CHOOSING if stage in row.seconds]
    return f"{sum(seconds):,.0f}" if seconds else _BLANK


def _peak(row: BenchRow) -> str:
    return _BLANK if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**20:,.0f}"


COLUMNS: dict[str, Callable[[BenchRow], str]] = {
    "file": lambda row: row.variant,
    "value": lambda row: _number("{:.2f}", row.value),
    "against fp32": lambda row: _number("{:+.2f}", row.against_float),
    "bits a weight": lambda row: _number("{:.2f}", row.weight_bits_mean),
    "plan bytes": lambda row: _number("{:,}", row.flash_bytes),
    "less memory": lambda row: _number("{:.1f} x", row.memory_reduction),
    "file bytes": lambda row: _number("{:,}", row.file_bytes),
    **{device: partial(_reduction, device=device) for device in DEVICES},
    "choosing s": _choosing_seconds,
    "training s": lambda row: _number("{:,.0f}", row.seconds.get("finetune")),
    "peak MiB": _peak,
}


def headline_lines(result: BenchResult) -> list[str]:
    """Markdown of all tables, one a network."""
    networks: dict[str, list[BenchRow]] = {}
    for row in result.rows:
        networks.setdefault(row.network, []).append(row)
    lines: list[str] = []
    for network, rows in networks.items():
        about = f"{network}, {rows[0].metric} of {rows[0].samples:,} samples:"
        lines += ["", about, "", _line(list(COLUMNS)), _line(["---"] * len(COLUMNS))]
        ordered = sorted(rows, key=lambda row: -(row.flash_bytes or row.file_bytes or 0))
        lines += (_line([cell(row) for cell in COLUMNS.values()]) for row in ordered)
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
