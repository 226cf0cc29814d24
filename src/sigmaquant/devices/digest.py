"""A device at a glance: memory, latency and energy a MAC for each weight width."""

from __future__ import annotations

from sigmaquant.artifact import Frozen
from sigmaquant.devices.evidence import Evidence, weakest
from sigmaquant.devices.profile import DeviceProfile, PowerEnergy
from sigmaquant.layers import LayerKind


class Cell(Frozen):
    """A figure and the evidence behind it."""

    value: float
    kind: Evidence


class KernelCells(Frozen):
    """One multiply-accumulate of one operator kind, without gathering, output and weight fetch."""

    cycles_per_mac: Cell
    ns_per_mac: Cell
    pj_per_mac: Cell


class WidthDigest(Frozen):
    """One weight width.

    Attributes:
        weight_bits: the width.
        stored_bits: bits that a weight takes in flash.
        kernels: by operator kind; only those that run at this width.
    """

    weight_bits: int
    stored_bits: Cell
    kernels: dict[LayerKind, KernelCells]


def width_digests(profile: DeviceProfile) -> tuple[WidthDigest, ...]:
    """The device's table, a row for each weight width it runs, ascending."""
    return tuple(_width_digest(profile, weight_bits) for weight_bits in profile.widths)


def _width_digest(profile: DeviceProfile, weight_bits: int) -> WidthDigest:
    storage = profile.weight_storage
    return WidthDigest(
        weight_bits=weight_bits,
        stored_bits=Cell(value=storage.bits[weight_bits], kind=storage.kind_at(weight_bits)),
        kernels={
            kind: _kernel_cells(profile, kind, weight_bits)
            for kind, widths in profile.supports.items()
            if weight_bits in widths
        },
    )


def _kernel_cells(profile: DeviceProfile, kind: LayerKind, weight_bits: int) -> KernelCells:
    kernel = profile.latency.kernels[kind]
    cycles = Cell(value=kernel.cycles_per_mac[weight_bits], kind=kernel.kind_at(weight_bits))
    time = Cell(
        value=cycles.value * 1000 / profile.clock.mhz,
        kind=weakest(cycles.kind, profile.clock.kind),
    )
    return KernelCells(
        cycles_per_mac=cycles, ns_per_mac=time, pj_per_mac=_energy(profile, time, weight_bits)
    )


def _energy(profile: DeviceProfile, time: Cell, weight_bits: int) -> Cell:
    energy = profile.energy
    if isinstance(energy, PowerEnergy):  # mW x ns = pJ
        return Cell(value=energy.active_mw * time.value, kind=weakest(energy.kind, time.kind))
    return Cell(value=energy.pj_per_mac[weight_bits], kind=energy.kind_at(weight_bits))
