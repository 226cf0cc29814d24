"""``sigmaquant demo``: everything once, on a network that is trained on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.budget import format_cost
from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line, print_table
from sigmaquant.units import format_bytes

if TYPE_CHECKING:
    from sigmaquant.demo import DemoRow

_NAMES = {"flash_bytes": "flash", "peak_ram_bytes": "RAM", "latency_ms": "latency"}
_COLUMNS = {metric: name for metric, name in _NAMES.items() if metric != "peak_ram_bytes"}
"""Peak RAM is the same for all of them: it does not depend on the width of weights."""


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path(
        "sigmaquant-demo"
    ),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train a small network on handwritten digits and fit it to a Cortex-M4, in two minutes.

    Example: sigmaquant demo --out sigmaquant-demo
    """
    from sigmaquant.demo import BUDGET, DEVICE, run_demo

    found = run_demo(out, seed=seed)
    if json:
        print_json([vars(row) for row in found.rows])
        return
    limits = (f"{_NAMES[m]} {format_cost(m, limit)}" for m, limit in BUDGET.limits().items())
    print_line(f"handwritten digits on {DEVICE}, within {', '.join(limits)}")
    columns = ("", "accuracy", "loss", "ONNX file", *_COLUMNS.values(), "fits")
    print_table(columns, [_cells(row) for row in found.rows])
    print_line("Accuracy and loss in ONNX Runtime, on test images that nothing else has seen;")
    print_line("mixed is fine-tuned, uniform plans are not.")
    print_line(f"report: {found.folder / 'report.html'}")


def _cells(row: DemoRow) -> tuple[str, ...]:
    quality = (f"{100 * row.accuracy:.1f} %", f"{row.loss:.3f}")
    if row.totals is None or row.file_bytes is None:
        return (row.name, *quality, *("-" for _ in range(2 + len(_COLUMNS))))
    costs = (format_cost(metric, row.totals[metric]) for metric in _COLUMNS)
    fits = "yes" if not row.broken else "no: " + ", ".join(_NAMES[m] for m in row.broken)
    return (row.name, *quality, format_bytes(row.file_bytes), *costs, fits)
