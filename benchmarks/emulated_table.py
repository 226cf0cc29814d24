"""The emulation's tables: each library, then how the cost table told its layers' cycles."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.results import BenchResult, BenchRow

_CODE_BYTES = 12 * 1024
_FLASH_RATIO = 1.03
_MEAN_PERCENT, _WORST_PERCENT = 5, 15


def emulated_lines(result: BenchResult) -> list[str]:
    """Markdown of both tables."""
    return ["", *_libraries(result.rows), "", *_layers(result.rows)]


def layer_errors(row: BenchRow) -> dict[str, float]:
    """Relative error of the cost table by layer, in percent."""
    assert row.layer_cycles is not None, "rows of this benchmark have cycles of layers"
    assert row.predicted_layer_cycles is not None, "and predictions"
    predicted = row.predicted_layer_cycles
    return {name: 100 * (predicted[name] / own - 1) for name, own in row.layer_cycles.items()}


def _libraries(rows: Iterable[BenchRow]) -> list[str]:
    return [
        *_head(
            [
                "network",
                "plan and core",
                "bits a weight",
                "samples",
                "outputs",
                "plan bytes",
                "text+data",
                f"beyond {_FLASH_RATIO} x plan (goal {_CODE_BYTES:,})",
                "arena",
                "predicted RAM",
                "cycles",
            ]
        ),
        *(_line(_library_cells(row)) for row in rows),
    ]


def _library_cells(row: BenchRow) -> list[str]:
    assert row.flash_bytes is not None, "each plan has a size"
    assert row.file_bytes is not None, "each library has a size"
    beyond = row.file_bytes - _FLASH_RATIO * row.flash_bytes
    outputs = f"to {row.largest_difference:.1g}" if row.largest_difference else "equal"
    numbers = (row.flash_bytes, row.file_bytes, beyond, row.ram_bytes, row.predicted_ram_bytes)
    return [
        row.network,
        row.variant,
        f"{row.weight_bits_mean:.2f}",
        f"{row.samples}",
        outputs,
        *(f"{number:,.0f}" for number in numbers),
        f"{row.value:,.0f}",
    ]


def _layers(rows: Sequence[BenchRow]) -> list[str]:
    return [
        *_head(
            [
                "network",
                "plan and core",
                "layers",
                f"mean error (goal {_MEAN_PERCENT} %)",
                f"largest (goal {_WORST_PERCENT} %)",
                "at",
                "their sum",
                "in layers",
            ]
        ),
        *(_line(_layer_cells(row)) for row in rows),
    ]


def _layer_cells(row: BenchRow) -> list[str]:
    errors = layer_errors(row)
    worst = max(errors, key=lambda name: abs(errors[name]))
    measured = sum((row.layer_cycles or {}).values())
    predicted = sum((row.predicted_layer_cycles or {}).values())
    return [
        row.network,
        row.variant,
        f"{len(errors)}",
        f"{statistics.mean(map(abs, errors.values())):.1f} %",
        f"{errors[worst]:+.1f} %",
        worst,
        f"{100 * (predicted / measured - 1):+.1f} %",
        f"{100 * measured / row.value:.0f} %",
    ]


def _head(titles: Sequence[str]) -> list[str]:
    return [_line(titles), _line(["---"] * len(titles))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
