"""A board's measurements as a CSV file: a row for each network, or for one layer of a network."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Mapping
from pathlib import Path

from sigmaquant.artifact import Frozen
from sigmaquant.errors import DataError

_REQUIRED = ("network", "latency_ms")
_COLUMNS = (*_REQUIRED, "layer", "plan", "energy_uj")


class Measurement(Frozen):
    """One row.

    Attributes:
        network: file of the captured network, or of its layer table.
        latency_ms: time of one sample.
        layer: name of the layer that was measured; None for the whole network.
        plan: file of the widths it ran with; None for 8 bits everywhere.
        energy_uj: energy of one sample, if it was measured.
    """

    network: Path
    latency_ms: float
    layer: str | None = None
    plan: Path | None = None
    energy_uj: float | None = None


def read_measurements(path: str | Path) -> tuple[Measurement, ...]:
    """The rows of a file; the paths in it are relative to its folder.

    Blank lines and lines that begin with # are remarks.

    Raises:
        DataError: unreadable, without rows, or a column or value that cannot be understood; names
            the line.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines(keepends=True)
        skipped = next((at for at, line in enumerate(lines) if not _is_remark(line)), 0)
        reader = csv.DictReader(
            ("\n" if _is_remark(line) else line for line in lines[skipped:]), strict=True
        )
        _check_columns(file, skipped + 1, reader.fieldnames)
        rows = tuple(_row(file, skipped + reader.line_num, row) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot read the measurements: {reason}") from error
    if not rows:
        raise DataError(f"{path} has no measurements: add a row such as network.pt2,41.5")
    return rows


def _is_remark(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _check_columns(path: Path, line: int, columns: object) -> None:
    found = list(columns) if isinstance(columns, list) else []
    unknown = [name for name in found if name not in _COLUMNS]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), _COLUMNS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_COLUMNS)}"
        raise DataError(f"{path}:{line}: unknown column {unknown[0]!r}; {hint}")
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        raise DataError(f"{path}:{line}: no column {missing[0]!r}; needed: {', '.join(_REQUIRED)}")
    if len(set(found)) < len(found):
        raise DataError(f"{path}:{line}: a column stands there twice")


def _row(path: Path, line: int, row: Mapping[str | None, str | list[str] | None]) -> Measurement:
    if None in row or None in row.values():
        raise DataError(f"{path}:{line}: not as many values as the first line has columns")
    values = {str(name): str(value).strip() for name, value in row.items()}
    if not values["network"]:
        raise DataError(f"{path}:{line}: no network")
    plan = values.get("plan")
    energy = values.get("energy_uj")
    return Measurement(
        network=path.parent / values["network"],
        latency_ms=_positive(path, line, "latency_ms", values["latency_ms"]),
        layer=values.get("layer") or None,
        plan=path.parent / plan if plan else None,
        energy_uj=_positive(path, line, "energy_uj", energy) if energy else None,
    )


def _positive(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{path}:{line}: {column}: expected a number above 0, not {text!r}")
    return value
