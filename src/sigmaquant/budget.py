"""Hard limits on what a network may cost on its device."""

from __future__ import annotations

from typing import Any

from sigmaquant.artifact import Frozen
from sigmaquant.units import (
    format_bytes,
    format_ms,
    format_uj,
    parse_bytes,
    parse_ms,
    parse_uj,
)

METRICS = ("flash_bytes", "peak_ram_bytes", "latency_ms", "energy_uj")
_FORMATS = {
    "flash_bytes": format_bytes,
    "peak_ram_bytes": format_bytes,
    "latency_ms": format_ms,
    "energy_uj": format_uj,
}


def format_cost(metric: str, value: float) -> str:
    """A cost with its unit, for people.

    >>> format_cost("flash_bytes", 98304)
    '96 KiB'
    """
    return _FORMATS[metric](value)


class Budget(Frozen):
    """Upper limits; ``None`` is no limit.

    The constructor takes quantities with units; the fields are plain numbers.

    >>> Budget(flash="96 KiB", latency="40 ms").limits()
    {'flash_bytes': 98304, 'latency_ms': 40.0}

    Raises:
        UnitError: a quantity is not understood, or not positive.
    """

    flash_bytes: int | None = None
    peak_ram_bytes: int | None = None
    latency_ms: float | None = None
    energy_uj: float | None = None

    def __init__(
        self,
        *,
        flash: str | float | None = None,
        ram: str | float | None = None,
        latency: str | float | None = None,
        energy: str | float | None = None,
        **fields: Any,
    ) -> None:
        given = {
            "flash_bytes": None if flash is None else parse_bytes(flash),
            "peak_ram_bytes": None if ram is None else parse_bytes(ram),
            "latency_ms": None if latency is None else parse_ms(latency),
            "energy_uj": None if energy is None else parse_uj(energy),
        }
        super().__init__(**{**{k: v for k, v in given.items() if v is not None}, **fields})

    def limits(self) -> dict[str, float]:
        """The limits that are set, by metric."""
        return {m: v for m in METRICS if (v := getattr(self, m)) is not None}
