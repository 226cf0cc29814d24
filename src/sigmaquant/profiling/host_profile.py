"""The profile of this host: what was fitted, among what is known of every ONNX Runtime host."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sigmaquant.devices.energy_models import Energy, IdlePower, PowerEnergy, UnknownEnergy
from sigmaquant.devices.evidence import Evidence
from sigmaquant.devices.latency_models import CyclesModel, StartCycles, WeightFetch
from sigmaquant.devices.profile import Clock, DeviceProfile, Uncertainty
from sigmaquant.devices.storage import ActivationStorage, Memory, Reserve, WeightStorage
from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.profiling.host_chains import OperatorChain
from sigmaquant.profiling.host_energy import Power
from sigmaquant.profiling.host_fit import Chains, element_cycles, kernel_cycles, layer_rows
from sigmaquant.profiling.profiled import typical_percent, worst_percent

_CPU_INFO = Path("/proc/cpuinfo")
_NO_LIMIT = "gigabytes set no limit"
_BYTE = 8
_NOTES = (
    "Every width is unpacked to bytes when the file is loaded and then runs as int8: bits buy a "
    "smaller file, not time. Times are of one sample, with weights and values in caches."
)


@dataclass(frozen=True)
class HostTimes:
    """What was measured.

    Attributes:
        layers: microseconds of one layer, by chain.
        operators: microseconds of one operator without weights, by chain.
        start_us: of a session, before and after its operators.
        power: None where nothing counts energy.
    """

    layers: Chains
    operators: Mapping[OperatorChain, float]
    start_us: float
    power: Power | None


def host_profile(name: str, stack: str, when: str, times: HostTimes) -> DeviceProfile:
    """The profile that fits the times.

    Args:
        name: of the profile.
        stack: the runtime and its threads.
        when: date of the measurement.
        times: of all kinds of layers.
    """
    clock, how = _clock(), f"{stack}, {when}"
    kinds = tuple(dict.fromkeys(chain.kind for chain in times.layers))
    return DeviceProfile(
        name=name,
        title=f"the host that it was measured on, {when}",
        core=_processor(),
        stack=f"{stack}, packed weights unpacked at load",
        notes=_NOTES,
        clock=clock,
        memory=Memory(source=_NO_LIMIT, kind=Evidence.ESTIMATED),
        reserve=Reserve(flash_bytes=0, ram_bytes=0, source=_NO_LIMIT, kind=Evidence.ESTIMATED),
        supports={kind: dict.fromkeys(WIDTHS, (_BYTE,)) for kind in kinds},
        weight_storage=WeightStorage(
            bits={width: width for width in WIDTHS},
            source="bit planes of the ONNX export",
            kind=Evidence.DERIVED,
        ),
        activation_storage=ActivationStorage(
            bits={_BYTE: _BYTE}, source="one byte a value", kind=Evidence.DERIVED
        ),
        latency=_latency(kinds, times, clock.mhz, how),
        energy=_energy(times.power, how),
        uncertainty=_uncertainty(times),
    )


def _latency(kinds: tuple[LayerKind, ...], times: HostTimes, mhz: float, how: str) -> CyclesModel:
    return CyclesModel(
        model="cycles",
        kernels={kind: kernel_cycles(times.layers, kind, mhz, how) for kind in kinds},
        weight_fetch=WeightFetch(
            cycles_per_byte=0,
            source="within the kernels: what they fetch are unpacked bytes, at every width",
            kind=Evidence.MEASURED,
        ),
        other_operators=element_cycles(times.operators, True, mhz, how),
        float_operators=element_cycles(times.operators, False, mhz, how),
        start=StartCycles(
            cycles_per_sample=float(f"{times.start_us * mhz:.4g}"),
            source=f"{how}: median over networks of one layer, less the layer",
            kind=Evidence.MEASURED,
        ),
    )


def _energy(power: Power | None, stack_and_date: str) -> Energy:
    if power is None:
        return UnknownEnergy(
            model="unknown",
            reason="no energy counter here: powercap shows none that counts and may be read",
        )
    return PowerEnergy(
        model="power",
        active_mw=float(f"{power.active_mw:.4g}"),
        source=f"{stack_and_date}: all packages' counters in powercap while a convolution ran",
        kind=Evidence.MEASURED,
        idle=IdlePower(
            mw=float(f"{power.idle_mw:.4g}"),
            source="the same counters while nothing ran",
            kind=Evidence.MEASURED,
        ),
    )


def _uncertainty(times: HostTimes) -> Uncertainty:
    rows = layer_rows(times.layers)
    return Uncertainty(
        source=f"{len(rows)} single layers, each left out of the fit; networks were not compared",
        kind=Evidence.MEASURED,
        latency_percent=typical_percent(rows),
        latency_worst_percent=worst_percent(rows),
    )


def _processor() -> str:
    """Its name, as the system knows it."""
    found = re.search(r"^model name\s*:\s*(.+)$", _cpu_info(), re.M)
    return found[1] if found else platform.processor() or platform.machine() or "unknown"


def _clock() -> Clock:
    """By which times are written as cycles: what is calculated from these is time again."""
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)$", _cpu_info(), re.M)
    if found:
        source = "what the system says; it drops out, since times were measured"
        return Clock(mhz=float(found[1]), source=source, kind=Evidence.MEASURED)
    source = "the system does not say: a cycle is a nanosecond here, and times were measured"
    return Clock(mhz=1000.0, source=source, kind=Evidence.MEASURED)


def _cpu_info() -> str:
    try:
        return _CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return ""
