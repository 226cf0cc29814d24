"""Write the tables of ``docs/BENCHMARKS.md`` from ``benchmarks/results/*.json``.

``python -m benchmarks.tables`` rewrites what stands between ``<!-- table: NAME -->`` and
``<!-- end -->``, and the headline's picture; with ``--check`` it changes nothing and exits with 4
where the page is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.assets import PROJECT_ROOT
from benchmarks.boards_table import boards_lines
from benchmarks.deployment.table import deploy_lines
from benchmarks.digest.table import headline_lines
from benchmarks.emulated_table import emulated_lines
from benchmarks.results import BenchResult, BenchRow, all_results
from benchmarks.rivals.table import rivals_lines
from sigmaquant.artifact import written_atomically
from sigmaquant.errors import DataError, SigmaQuantError

PAGE = PROJECT_ROOT / "docs" / "BENCHMARKS.md"
PICTURE = PAGE.with_name("headline.svg")

_BLOCK = re.compile(r"(?P<begin><!-- table: (?P<bench>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.S)
_BLANK = "-"


def _number(template: str, value: float | None) -> str:
    return _BLANK if value is None else template.format(value)


def _mib(size_bytes: int | None) -> str:
    return _BLANK if size_bytes is None else f"{size_bytes / 2**20:,.0f}"


def _seconds(row: BenchRow) -> str:
    return ", ".join(f"{stage} {value:.3g}" for stage, value in row.seconds.items()) or _BLANK


COLUMNS: dict[str, Callable[[BenchRow], str]] = {
    "network": lambda row: row.network,
    "variant": lambda row: row.variant,
    "metric": lambda row: row.metric,
    "value": lambda row: _number("{:.2f}", row.value),
    "against fp32": lambda row: _number("{:+.2f}", row.against_float),
    "bits a weight": lambda row: _number("{:.2f}", row.weight_bits_mean),
    "plan bytes": lambda row: _number("{:,}", row.flash_bytes),
    "file bytes": lambda row: _number("{:,}", row.file_bytes),
    "fp32 file bytes": lambda row: _number("{:,}", row.float_file_bytes),
    "time / fp32": lambda row: _number("{:.2f}", row.latency_ratio_float),
    "in batches": lambda row: _number("{:.2f}", row.latency_ratio_float_batch32),
    "seconds": _seconds,
}

RARE_COLUMNS: dict[str, Callable[[BenchRow], str]] = {
    "peak MiB": lambda row: _mib(row.peak_memory_bytes),
}
"""Columns of tables in which some row has the figure."""


def rendered(page: str, results: Iterable[BenchResult]) -> str:
    """The page's text with every table made anew.

    Raises:
        DataError: a result has no place on the page.
    """
    by_name = {result.bench: result for result in results}
    homeless = set(by_name) - {match["bench"] for match in _BLOCK.finditer(page)}
    if homeless:
        name = min(homeless)
        raise DataError(f"the page has no place for {name!r}: add '<!-- table: {name} -->'")

    def block(match: re.Match[str]) -> str:
        return match["begin"] + _table(match["bench"], by_name) + match["end"]

    return _BLOCK.sub(block, page)


def _table(bench: str, results: dict[str, BenchResult]) -> str:
    if bench not in results:
        return "Not measured yet.\n"
    result = results[bench]
    lines = BODIES.get(bench, _rows_as_lines)(result)
    return "\n".join([_caption(result), *lines]) + "\n"


def _rows_as_lines(result: BenchResult) -> list[str]:
    """A line for each row."""
    rare = {
        name: cell
        for name, cell in RARE_COLUMNS.items()
        if any(cell(row) != _BLANK for row in result.rows)
    }
    columns = {**COLUMNS, **rare}
    lines = ["", _line(list(columns)), _line(["---"] * len(columns))]
    lines += (_line([cell(row) for cell in columns.values()]) for row in result.rows)
    return lines


def _scores_lines(result: BenchResult) -> list[str]:
    """A line for each metric, its time beside the reference's."""
    lines = ["", _line(_SCORES_COLUMNS), _line(["---"] * len(_SCORES_COLUMNS))]
    for row in result.rows:
        reference = result.row(row.network, "loss")
        times = reference.seconds["score"] / row.seconds["score"] if reference else None
        cells = [row.network, row.variant, f"{row.samples}", f"{row.seconds['score']:.1f}"]
        lines.append(_line([*cells, _number("{:.1f} x", times), f"{row.value:.3f}"]))
    return lines


_SCORES_COLUMNS = ("network", "metric", "samples", "seconds", "as fast as loss", "rank correlation")

BODIES: dict[str, Callable[[BenchResult], list[str]]] = {
    "boards": boards_lines,
    "deploy": deploy_lines,
    "emulated": emulated_lines,
    "headline": headline_lines,
    "headline-coded": headline_lines,
    "rivals": rivals_lines,
    "scores": _scores_lines,
}
"""What stands under the caption, for benchmarks with tables of their own."""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _caption(result: BenchResult) -> str:
    machine = result.hardware
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return (
        f"`{result.command}`, {result.date}, seed {result.seed}, on {machine.cores} cores of "
        f"{machine.cpu} with {machine.ram_gib} GiB; {versions}."
    )


def _draw(results: Mapping[str, BenchResult]) -> None:
    from benchmarks.digest.plot import save_plot

    rows = {name: result.rows for name, result in results.items()}
    ours = [*rows["headline"], *rows.get("headline-coded", ())]
    save_plot(ours, rows.get("rivals", ()), PICTURE)


def main() -> int:
    """Rewrite or check the page; the exit code is 4 where a check fails, else an error's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    try:
        results = {result.bench: result for result in all_results()}
        fresh = rendered(text, results.values())
        if "headline" in results and not check:
            _draw(results)
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if fresh == text:
        return 0
    if check:
        print(f"{PAGE.name} is out of date: run python -m benchmarks.tables", file=sys.stderr)
        return 4
    with written_atomically(PAGE) as temporary:
        temporary.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
