"""The report in a terminal: readable in 80 columns, without colour, and through a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sigmaquant.budget import format_cost
from sigmaquant.report.guarantees import guarantees
from sigmaquant.report.model import (
    METRIC_TITLES,
    STAGES,
    BudgetUse,
    ExportedFile,
    LayerResult,
    Quality,
    RunReport,
)
from sigmaquant.report.summary import headline
from sigmaquant.units import format_bytes, format_ms

BIT_STYLES = {
    2: "bold red",
    3: "red",
    4: "yellow",
    5: "green",
    6: "cyan",
    7: "blue",
    8: "bold blue",
}
"""Terminal colour of each weight width, from the narrowest to the widest."""

NAME_WIDTH = 22
"""Columns that the longest layer name may take in a terminal of 80; more in a wider one."""

LAYER_ROWS = 60
"""Above so many layers only the largest are listed; the page has them all."""

_USE_BAR = 10


def print_report(report: RunReport, console: Console) -> None:
    """Print headline, budgets, layers, quality, guarantees, files, calibration check and warnings.

    Names come from the user's network: they are printed as text, never as markup or control codes.
    """
    console.print(Text(_printable(headline(report)), style="bold"))
    console.print(Text(_printable(_subject(report)), style="dim"))
    for table in _tables(report, console):
        console.print()
        console.print(table)
    console.print()
    if len(report.layers) > LAYER_ROWS:
        left_out = len(report.layers) - LAYER_ROWS
        console.print(f"{left_out} smaller layers are only in report.html.")
    for sentence in guarantees(report):
        console.print(Text(_printable(sentence)))
    for exported in report.exports:
        console.print(Text(_printable(_export_sentence(exported))))
    if report.calibration is not None:
        console.print(Text(f"Calibration check: {report.calibration.headline}"))
        for note in report.calibration.notes:
            console.print(Text(f"Note: {_printable(note.text)}"))
    for warning in report.warnings:
        console.print(Text(f"Warning: {_printable(warning)}", style="yellow"))


def _tables(report: RunReport, console: Console) -> Iterator[Table]:
    if report.budgets:
        yield _budget_table(report, console)
    yield _layer_table(report, console)
    if report.activation_bits:
        yield _activation_table(report)
    if report.quality:
        yield _quality_table(report)


def _subject(report: RunReport) -> str:
    solution = report.solution
    gap = "" if solution.gap is None else f", gap {100 * solution.gap:.2g} %"
    return (
        f"{report.network} on {report.target.title}; plan: {solution.strategy} "
        f"({solution.status}{gap}), {report.weight_bits_mean:.2f} bits a weight"
    )


def _table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )


def _budget_table(report: RunReport, console: Console) -> Table:
    table = _table()
    for title in ("Budget", "float32", "used", "limit"):
        table.add_column(title, justify="left" if title == "Budget" else "right")
    table.add_column("use")
    table.add_column("evidence")
    for budget in report.budgets:
        known = (budget.float_value, budget.used, budget.limit)
        costs = ("-" if cost is None else format_cost(budget.metric, cost) for cost in known)
        table.add_row(METRIC_TITLES[budget.metric], *costs, _use_bar(budget, console), budget.mark)
    return table


def _use_bar(budget: BudgetUse, console: Console) -> Text:
    if budget.limit is None:
        return Text("no limit", style="dim")
    share = budget.used / budget.limit
    # Truncated, not rounded: a bar that looks full or a "100 %" must mean the limit.
    filled = min(int(share * _USE_BAR), _USE_BAR)
    text = f"{_blocks(filled, _USE_BAR, console)} {int(100 * share)} %"
    return Text(text, style="green" if budget.fits else "bold red")


def _blocks(filled: int, width: int, console: Console) -> str:
    full, empty = ("#", ".") if console.options.ascii_only else ("█", "░")
    return full * filled + empty * (width - filled)


def _layer_table(report: RunReport, console: Console) -> Table:
    table = _table()
    table.add_column("Layer", no_wrap=True)
    table.add_column("weights", justify="right")
    table.add_column("bits", no_wrap=True)
    table.add_column("act.", justify="right")
    for title in ("flash", "latency", "rise"):
        table.add_column(title, justify="right")
    name_width = NAME_WIDTH + max(0, console.width - 80)
    for layer in _listed(report.layers):
        table.add_row(
            Text(_shortened(_printable(layer.name), name_width)),
            f"{layer.weights:,}" if layer.weights < 1e6 else f"{layer.weights / 1e6:.2f}M",
            Text(
                f"{layer.weight_bits} {_blocks(layer.weight_bits, 8, console)}",
                style=BIT_STYLES[layer.weight_bits],
            ),
            str(layer.activation_bits),
            format_bytes(layer.flash_bytes),
            format_ms(layer.latency_ms),
            _chosen_rise(layer),
        )
    return table


def _activation_table(report: RunReport) -> Table:
    table = _table()
    table.add_column("Activations", no_wrap=True)
    table.add_column("bits", justify="right")
    for group, bits in report.activation_bits.items():
        table.add_row(Text(_printable(group)), str(bits))
    return table


def _listed(layers: tuple[LayerResult, ...]) -> list[LayerResult]:
    """The largest layers, in order of execution."""
    largest = sorted(layers, key=lambda layer: layer.weights, reverse=True)[:LAYER_ROWS]
    kept = {layer.name for layer in largest}
    return [layer for layer in layers if layer.name in kept]


def _chosen_rise(layer: LayerResult) -> str:
    score = layer.scores.get(layer.weight_bits)
    return "-" if score is None else f"{score.rise:.2g}"


def _quality_table(report: RunReport) -> Table:
    table = _table()
    table.add_column("Quality")
    for title in ("accuracy", report.quality_loss or "loss", "samples"):
        table.add_column(title, justify="right")
    for stage in STAGES:
        accuracy, loss = report.quality_at(stage, "accuracy"), report.quality_at(stage, "loss")
        if accuracy or loss:
            table.add_row(
                stage,
                f"{100 * accuracy.value:.2f} %" if accuracy else "-",
                f"{loss.value:.4g}" if loss else "-",
                _samples(accuracy, loss),
            )
    return table


def _samples(accuracy: Quality | None, loss: Quality | None) -> str:
    counts = dict.fromkeys(row.samples for row in (accuracy, loss) if row)
    return " / ".join(f"{count:,}" for count in counts)


def _export_sentence(exported: ExportedFile) -> str:
    size = format_bytes(exported.file_bytes)
    if exported.float_file_bytes is not None:
        size += f" (float {format_bytes(exported.float_file_bytes)})"
    sentence = f"{exported.file_name}: {size}, {_verification(exported)}"
    if exported.latency_ratio_float is not None:
        sentence += f", {exported.latency_ratio_float:.2g}x the time of float"
    if exported.kernels_to_register:
        sentence += f"; kernels to register: {', '.join(exported.kernels_to_register)}"
    return sentence + "."


def _verification(exported: ExportedFile) -> str:
    compared = f"{exported.compared_values:,} values"
    if not exported.verified:
        return f"NOT VERIFIED: {exported.differing_values:,} of {compared} differ"
    if exported.differing_values:
        return (
            f"verified: {exported.differing_values:,} of {compared} differ, "
            f"by at most {exported.max_difference:.2g}"
        )
    return f"verified: {compared} equal the integer reference"


def _printable(text: str) -> str:
    """Control characters replaced, so that a name cannot steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _shortened(name: str, width: int) -> str:
    """The name cut in its middle: paths differ at their ends."""
    if len(name) <= width:
        return name
    head = (width - 2) // 3
    return f"{name[:head]}..{name[head + 2 - width :]}"
