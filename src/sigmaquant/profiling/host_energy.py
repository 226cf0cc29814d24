"""Power of this host by the energy counters that Linux shows in powercap (RAPL and its like)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")

_PACKAGE = "package-"
_NS_PER_S = 1e9


@dataclass(frozen=True)
class EnergyCounter:
    """A package's counter, which starts again from 0 when it is full.

    Attributes:
        path: of the file with microjoules.
        range_uj: one more than the largest value.
    """

    path: Path
    range_uj: int

    def read_uj(self) -> int:
        """Microjoules since some moment."""
        return int(self.path.read_text())


@dataclass(frozen=True)
class Power:
    """Milliwatts of all packages together, busy with one task and at rest."""

    active_mw: float
    idle_mw: float


def package_counters(powercap: Path = POWERCAP) -> tuple[EnergyCounter, ...]:
    """The packages' counters that this user may read; their parts are within them."""
    counters = []
    for zone in sorted(powercap.glob("*:*")):
        try:
            if (zone / "name").read_text().startswith(_PACKAGE):
                counter = EnergyCounter(
                    zone / "energy_uj", int((zone / "max_energy_range_uj").read_text()) + 1
                )
                counter.read_uj()
                counters.append(counter)
        except (OSError, ValueError):  # often only root may read: no counter for this user
            continue
    return tuple(counters)


def measured_power(
    counters: tuple[EnergyCounter, ...],
    task: Callable[[], object],
    seconds: float,
    *,
    rest: Callable[[float], object] = time.sleep,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Power:
    """Power while a task is repeated for so long, and while nothing is done for as long.

    The task has to last much less than the counters need to start again.
    """

    def work() -> None:
        end_ns = clock_ns() + seconds * _NS_PER_S
        while clock_ns() < end_ns:
            task()

    return Power(
        active_mw=_power_mw(counters, work, clock_ns),
        idle_mw=_power_mw(counters, lambda: rest(seconds), clock_ns),
    )


def _power_mw(
    counters: tuple[EnergyCounter, ...], work: Callable[[], object], clock_ns: Callable[[], int]
) -> float:
    start_ns, before = clock_ns(), [counter.read_uj() for counter in counters]
    work()
    after, elapsed_ns = [counter.read_uj() for counter in counters], clock_ns() - start_ns
    spent = zip(counters, before, after, strict=True)
    microjoules = sum((end - start) % counter.range_uj for counter, start, end in spent)
    return microjoules * 1e6 / elapsed_ns  # uJ / ns = 1e6 mW
