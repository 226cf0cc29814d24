"""A device at a glance: memory, latency and energy a MAC for each width."""

from __future__ import annotations

from sigmaquant.artifact import Frozen
from sigmaquant.devices.energy_models import PowerEnergy, UnknownEnergy
from sigmaquant.devices.evidence import Evidence, weakest
from sigmaquant.devices.latency_models import CyclesModel
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.layers import LayerKind


class Cell(Frozen):
    """A figure and the evidence behind it."""

    value: float
    kind: Evidence


class KernelCells(Frozen):
    """One multiply-accumulate of one operator kind, without gathering, output and weight fetch.

    ``cycles_per_mac`` is None where the device is not described in cycles, ``pj_per_mac`` where its
    energy is not known.
    """

    cycles_per_mac: Cell | None
    ns_per_mac: Cell
    pj_per_mac: Cell | None


class WidthDigest(Frozen):
    """One weight width with one activation width.

    Attributes:
        weight_bits: the weights' width.
        activation_bits: the input's.
        stored_bits: bits that a weight takes in flash.
        kernels: by operator kind; only those that run at these widths.
    """

    weight_bits: int
    activation_bits: int
    stored_bits: Cell
    kernels: dict[LayerKind, KernelCells]


def width_digests(profile: DeviceProfile) -> tuple[WidthDigest, ...]:
    """The device's table: a row for each pair of widths, by weights, the widest input first."""
    pairs = {
        (weight_bits, activation_bits)
        for widths in profile.supports.values()
        for weight_bits, inputs in widths.items()
        for activation_bits in inputs
    }
    ordered = sorted(pairs, key=lambda pair: (pair[0], -pair[1]))
    return tuple(_width_digest(profile, *pair) for pair in ordered)


def _width_digest(profile: DeviceProfile, weight_bits: int, activation_bits: int) -> WidthDigest:
    storage = profile.weight_storage
    return WidthDigest(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        stored_bits=Cell(value=storage.bits[weight_bits], kind=storage.kind_at(weight_bits)),
        kernels={
            kind: _kernel_cells(profile, kind, weight_bits, activation_bits)
            for kind, widths in profile.supports.items()
            if activation_bits in widths.get(weight_bits, ())
        },
    )


def _kernel_cells(
    profile: DeviceProfile, kind: LayerKind, weight_bits: int, activation_bits: int
) -> KernelCells:
    cycles = _cycles_cell(profile, kind, weight_bits, activation_bits)
    time = _time_cell(profile, kind, weight_bits, activation_bits)
    return KernelCells(
        cycles_per_mac=cycles,
        ns_per_mac=time,
        pj_per_mac=_energy_cell(profile, time, weight_bits, activation_bits),
    )


def _cycles_cell(
    profile: DeviceProfile, kind: LayerKind, weight_bits: int, activation_bits: int
) -> Cell | None:
    if not isinstance(profile.latency, CyclesModel):
        return None
    macs = profile.latency.kernels[kind].macs_at(activation_bits)
    return _scaled(
        macs.cycles_per_mac[weight_bits],
        profile.latency_scale(kind),
        profile,
        macs.kind_at(weight_bits),
    )


def _time_cell(
    profile: DeviceProfile, kind: LayerKind, weight_bits: int, activation_bits: int
) -> Cell:
    cycles = _cycles_cell(profile, kind, weight_bits, activation_bits)
    if cycles is not None and profile.clock is not None:
        mark = weakest(cycles.kind, profile.clock.kind)
        return Cell(value=cycles.value * 1000 / profile.clock.mhz, kind=mark)
    assert not isinstance(profile.latency, CyclesModel), "cycles have a clock"
    macs = profile.latency.rates[kind].macs_at(activation_bits)
    ns = 1 / macs.gmac_per_s[weight_bits]
    return _scaled(ns, profile.latency_scale(kind), profile, macs.kind_at(weight_bits))


def _energy_cell(
    profile: DeviceProfile, time: Cell, weight_bits: int, activation_bits: int
) -> Cell | None:
    energy = profile.energy
    if isinstance(energy, UnknownEnergy):
        return None
    if isinstance(energy, PowerEnergy):
        # mW x ns = pJ
        pj, mark = energy.active_mw * time.value, weakest(energy.kind, time.kind)
    else:
        macs = energy.macs_at(activation_bits)
        pj, mark = macs.pj_per_mac[weight_bits], macs.kind_at(weight_bits)
    return _scaled(pj, profile.energy_scale, profile, mark)


def _scaled(value: float, scale: float, profile: DeviceProfile, mark: Evidence) -> Cell:
    """A model's figure as the profile's calibration changes it."""
    if profile.calibration is None:
        return Cell(value=value, kind=mark)
    return Cell(value=value * scale, kind=weakest(mark, profile.calibration.kind))
