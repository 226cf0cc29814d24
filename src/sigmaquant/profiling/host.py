"""A profile of the host: chains of layers timed in ONNX Runtime, as exported files run them."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TypeVar

from sigmaquant.errors import DataError
from sigmaquant.export.onnx.runtime import VERSION
from sigmaquant.profiling.host_chains import Chain, LayerChain, OperatorChain
from sigmaquant.profiling.host_energy import POWERCAP, Power, measured_power, package_counters
from sigmaquant.profiling.host_fit import Chains, layer_rows, operator_rows
from sigmaquant.profiling.host_grid import BUSY, layer_chains, operator_chains
from sigmaquant.profiling.host_profile import HostTimes, host_profile
from sigmaquant.profiling.host_timing import LinkTime, link_time, network_run
from sigmaquant.profiling.profiled import Profiled

Measure = Callable[[Chain], LinkTime]
ChainT = TypeVar("ChainT", bound=Chain)

_LOGGER = logging.getLogger(__name__)
_RUNS = 40


def profile_host(
    name: str,
    *,
    threads: int = 1,
    runs: int = _RUNS,
    measure: Measure | None = None,
    layers: Iterable[LayerChain] | None = None,
    operators: Iterable[OperatorChain] | None = None,
    powercap: Path = POWERCAP,
    power_seconds: float = 2.0,
) -> Profiled:
    """Time the kernels of ONNX Runtime on this host, and fit a profile to them.

    Args:
        name: of the new profile.
        threads: of the runtime, inside an operator.
        runs: timed runs of each chain.
        measure: by default ``link_time``.
        layers: what is timed; by default what ``host_grid`` lists.
        operators: the same, of operators without weights.
        powercap: where Linux shows energy counters.
        power_seconds: how long power is measured, at work and at rest.

    Raises:
        DataError: a layer that took no time that a clock could tell.
    """
    timed = measure or (lambda chain: link_time(chain, threads=threads, runs=runs))
    found = _timed(layer_chains() if layers is None else layers, timed)
    sums = _timed(dict.fromkeys(chain.sums for chain in found), timed)
    others = _timed(operator_chains() if operators is None else operators, timed)
    times = HostTimes(
        layers=_without_sums(found, sums),
        operators={chain: time.link_us for chain, time in others.items()},
        # The first link of a chain of layers adds nothing yet.
        start_us=statistics.median(
            time.start_us + sums[chain.sums].link_us for chain, time in found.items()
        ),
        power=_power(powercap, threads, power_seconds),
    )
    stack = f"{VERSION} on {threads} thread{'s' if threads > 1 else ''}"
    return Profiled(
        profile=host_profile(name, stack, f"{date.today():%Y-%m-%d}", times),
        rows=(*layer_rows(times.layers), *operator_rows(times.operators)),
        unit="us",
    )


def _timed(chains: Iterable[ChainT], measure: Measure) -> dict[ChainT, LinkTime]:
    times = {}
    for chain in chains:
        times[chain] = measure(chain)
        _LOGGER.info("%s: %.2f us", chain.name, times[chain].link_us)
    return times


def _without_sums(found: dict[LayerChain, LinkTime], sums: dict[OperatorChain, LinkTime]) -> Chains:
    """The layers' own times: a link of their chains adds its result to those before."""
    times = {chain: time.link_us - sums[chain.sums].link_us for chain, time in found.items()}
    for chain, microseconds in times.items():
        if microseconds <= 0:
            raise DataError(
                f"{chain.name} takes no longer than adding its result; this host is too busy to be "
                "measured"
            )
    return times


def _power(powercap: Path, threads: int, seconds: float) -> Power | None:
    counters = package_counters(powercap)
    if not counters:
        return None
    power = measured_power(counters, network_run(BUSY.program(1), threads), seconds)
    return power if power.active_mw > 0 else None  # in some virtual machines counters stand still
