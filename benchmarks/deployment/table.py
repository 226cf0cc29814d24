"""The table of files in their runtimes: one a network, a line for each target and plan."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.results import BenchResult, BenchRow

_BLANK = "-"


def _number(template: str, value: float | None) -> str:
    return _BLANK if value is None else template.format(value)


def _quotient(row: BenchRow) -> str:
    if row.file_bytes is None or row.flash_bytes is None:
        return _BLANK
    return f"{row.file_bytes / row.flash_bytes:.3f}"


COLUMNS: dict[str, Callable[[BenchRow], str]] = {
    "file": lambda row: row.variant,
    "bits a weight": lambda row: _number("{:.2f}", row.weight_bits_mean),
    "file bytes": lambda row: _number("{:,}", row.file_bytes),
    "predicted": lambda row: _number("{:,}", row.flash_bytes),
    "file / predicted": _quotient,
    "top-1 %": lambda row: _number("{:.2f}", row.value),
    "reference %": lambda row: _number("{:.2f}", row.reference_value),
    "samples": lambda row: f"{row.samples:,}",
    "time / int8": lambda row: _number("{:.2f}", row.latency_ratio_int8),
    "RAM bytes": lambda row: _number("{:,}", row.ram_bytes),
    "predicted RAM": lambda row: _number("{:,}", row.predicted_ram_bytes),
}


def deploy_lines(result: BenchResult) -> list[str]:
    """Markdown of all tables."""
    networks: dict[str, list[BenchRow]] = {}
    for row in result.rows:
        networks.setdefault(row.network, []).append(row)
    lines: list[str] = []
    for network, rows in networks.items():
        lines += ["", f"{network}:", "", _line(list(COLUMNS)), _line(["---"] * len(COLUMNS))]
        lines += (_line([cell(row) for cell in COLUMNS.values()]) for row in rows)
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
