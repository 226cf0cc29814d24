"""Quantities with units: "512 KiB", "10 ms", "3.2 mJ", to and from plain numbers.

Internally sizes are bytes (int), times milliseconds and energies microjoules (float). A bare
number is taken to be in the internal unit already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from sigmaquant.errors import UnitError

_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
}
_MILLISECONDS = {"NS": 1e-6, "US": 1e-3, "MS": 1.0, "S": 1e3}
_MICROJOULES = {"PJ": 1e-6, "NJ": 1e-3, "UJ": 1.0, "MJ": 1e3, "J": 1e6}

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµμ]*)\s*")


def _parse(text: str | float, units: Mapping[str, float], what: str, example: str) -> float:
    if isinstance(text, str):
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise UnitError(f"{text!r} is not {what}; write it like {example!r}")
        unit = match[2].upper().replace("µ".upper(), "U").replace("μ".upper(), "U")
        if unit and unit not in units:
            known = ", ".join(units)
            raise UnitError(f"{text!r}: unknown unit {match[2]!r} for {what}; known: {known}")
        value = float(match[1]) * (units[unit] if unit else 1.0)
    else:
        value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise UnitError(f"{text!r} is not {what}: it has to be a positive, finite quantity")
    return value


def parse_bytes(text: str | float) -> int:
    """Bytes of a size such as "96 KiB".

    >>> parse_bytes("96 KiB"), parse_bytes("1.5MB"), parse_bytes(2048)
    (98304, 1500000, 2048)
    """
    value = int(_parse(text, _BYTES, "a size", "96 KiB"))
    if value < 1:
        raise UnitError(f"{text!r} is less than one byte")
    return value


def parse_ms(text: str | float) -> float:
    """Milliseconds of a time such as "40 ms".

    >>> parse_ms("40 ms"), parse_ms("0.5 s"), parse_ms("250us")
    (40.0, 500.0, 0.25)
    """
    return _parse(text, _MILLISECONDS, "a time", "40 ms")


def parse_uj(text: str | float) -> float:
    """Microjoules of an energy such as "3.2 mJ".

    >>> parse_uj("3.2 mJ"), parse_uj("75 uJ")
    (3200.0, 75.0)
    """
    return _parse(text, _MICROJOULES, "an energy", "3.2 mJ")


def _format(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    factor, unit = next((s for s in steps if abs(value) >= s[0]), steps[-1])
    return f"{value / factor:.4g} {unit}"


def format_bytes(value: float) -> str:
    """A size as people read it.

    >>> format_bytes(98304), format_bytes(100)
    ('96 KiB', '100 B')
    """
    return _format(value, ((1024**2, "MiB"), (1024, "KiB"), (1, "B")))


def format_ms(value: float) -> str:
    """A time as people read it.

    >>> format_ms(1500), format_ms(0.25)
    ('1.5 s', '250 us')
    """
    return _format(value, ((1e3, "s"), (1.0, "ms"), (1e-3, "us"), (1e-6, "ns")))


def format_uj(value: float) -> str:
    """An energy as people read it.

    >>> format_uj(3200), format_uj(0.5)
    ('3.2 mJ', '500 nJ')
    """
    return _format(value, ((1e6, "J"), (1e3, "mJ"), (1.0, "uJ"), (1e-3, "nJ"), (1e-6, "pJ")))
