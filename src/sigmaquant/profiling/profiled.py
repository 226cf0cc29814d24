"""What profiling a target finds: a profile, and how well it tells what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sigmaquant.devices.profile import DeviceProfile


@dataclass(frozen=True)
class FittedRow:
    """One measurement beside what the fit makes of it.

    Attributes:
        name: what was measured.
        measured: time, in the profile's unit.
        error: relative, of the fit to all rows.
        left_out: relative, of the fit to all other rows of its kind.
    """

    name: str
    measured: float
    error: float
    left_out: float


@dataclass(frozen=True)
class Profiled:
    """A profile and the rows that it was fitted to.

    Attributes:
        profile: ready to be written.
        rows: in the order of measuring.
        unit: of the rows, such as "us".
    """

    profile: DeviceProfile
    rows: tuple[FittedRow, ...]
    unit: str


def typical_percent(rows: Sequence[FittedRow]) -> float:
    """Median of the left-out errors."""
    return round(100 * statistics.median(abs(row.left_out) for row in rows), 1)


def worst_percent(rows: Sequence[FittedRow]) -> float:
    """Largest of the left-out errors."""
    return round(100 * max(abs(row.left_out) for row in rows), 1)


def readable(figure: float) -> float:
    """Four digits: a profile's figures are read by people."""
    return float(f"{figure:.4g}")
