"""``sigmaquant devices``: what is known of each device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from sigmaquant.cli.devices_estimate import estimate_file
from sigmaquant.cli.devices_firmware import write_board_firmware
from sigmaquant.cli.devices_fit import fit_device
from sigmaquant.cli.devices_profile import profile_device
from sigmaquant.cli.options import Debug, Json
from sigmaquant.cli.output import print_json, print_line, print_table
from sigmaquant.devices import (
    Cell,
    DeviceProfile,
    Evidence,
    WidthDigest,
    available_profiles,
    available_runtimes,
    load_profile,
    load_runtime,
    width_digests,
)
from sigmaquant.devices.energy_models import Energy, PowerEnergy, UnknownEnergy
from sigmaquant.devices.profile import Uncertainty
from sigmaquant.layers import LayerKind
from sigmaquant.units import format_bytes

devices = typer.Typer(
    no_args_is_help=True, help="List, show, profile and fit devices, or ask a vendor's estimator."
)

MARKS = {
    Evidence.MEASURED: "",
    Evidence.EMULATED: "e",
    Evidence.DERIVED: "d",
    Evidence.ESTIMATED: "~",
}
"""Printed behind a figure that was not measured on the device itself."""

_SHORT_NAMES = {LayerKind.DEPTHWISE_CONV: "dw conv"}
_BLANK = "-"
_LEAST_NS = 0.01


@devices.command("list")
def list_devices(json: Json = False, debug: Debug = False) -> None:
    """The devices that can be named with --device, and the runtimes with --runtime."""
    profiles = [load_profile(name) for name in available_profiles()]
    runtimes = [load_runtime(name) for name in available_runtimes()]
    if json:
        print_json([{"name": p.name, "title": p.title, "stack": p.stack} for p in profiles])
        return
    print_table(("name", "device"), [(p.name, p.title) for p in profiles], text_columns=2)
    print_table(("name", "runtime"), [(r.name, r.title) for r in runtimes], text_columns=2)


@devices.command("show")
def show_device(
    name: Annotated[str, typer.Argument(help="Name of a device, or a TOML profile.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Memory, latency and energy of one weight and one multiply-accumulate at each width.

    Every figure is marked with how it is known.

    Example: sigmaquant devices show cortex-m4
    """
    profile = load_profile(name)
    digests = width_digests(profile)
    if json:
        print_json([digest.model_dump(mode="json") for digest in digests])
        return
    for line in _header(profile):
        print_line(line)
    print_table(_columns(digests), list(_rows(digests)))
    print_line("marks: " + ", ".join(f"{m or 'none'} {kind.value}" for kind, m in MARKS.items()))


devices.command("profile")(profile_device)
devices.command("firmware")(write_board_firmware)
devices.command("fit")(fit_device)
devices.command("estimate")(estimate_file)


def _header(profile: DeviceProfile) -> Iterator[str]:
    """What the device is, and how far its figures can be trusted."""
    clock = "" if profile.clock is None else f" at {profile.clock.mhz:g} MHz"
    yield f"{profile.name}: {profile.title}, {profile.core}{clock}"
    flash, ram = profile.memory.flash_bytes, profile.memory.ram_bytes
    yield f"flash {_size(flash)}, RAM {_size(ram)}; {profile.stack}"
    yield f"weights: {profile.weight_storage.container}; energy: {_power(profile.energy)}"
    if profile.notes:
        yield profile.notes
    if profile.uncertainty is not None:
        yield _uncertainty(profile.uncertainty)
    if profile.calibration is not None:
        yield f"calibrated: {profile.calibration.source}"


def _power(energy: Energy) -> str:
    if isinstance(energy, UnknownEnergy):
        return f"unknown ({energy.reason})"
    if not isinstance(energy, PowerEnergy):
        return "a sum over operations"
    mark = MARKS[energy.kind]
    idle = energy.idle
    resting = "" if idle is None else f", {idle.mw:g}{MARKS[idle.kind]} mW idle"
    return f"{energy.active_mw:g}{mark} mW active{resting}"


def _uncertainty(uncertainty: Uncertainty) -> str:
    worst = uncertainty.latency_worst_percent
    at_most = "" if worst is None else f", at most {worst:g} %"
    return f"latency error {uncertainty.latency_percent:g} %{at_most}: {uncertainty.source}"


def _size(size: int | None) -> str:
    return "unknown" if size is None else format_bytes(size)


def _kinds(digests: Sequence[WidthDigest]) -> list[LayerKind]:
    """Operator kinds that run at some width, in the profile's order."""
    return list(dict.fromkeys(kind for digest in digests for kind in digest.kernels))


def _columns(digests: Sequence[WidthDigest]) -> list[str]:
    names = [_SHORT_NAMES.get(kind, str(kind)) for kind in _kinds(digests)]
    units = (f"{_time_unit(digests)[0]}/MAC", "pJ/MAC")
    figures = [f"{unit}\n{name}" for unit in units for name in names]
    return ["bits", "input\nbits", "stored\nbits", *figures]


def _time_unit(digests: Sequence[WidthDigest]) -> tuple[str, float]:
    """Nanoseconds, or picoseconds where the device is that fast; the unit and how many a ns."""
    times = [cells.ns_per_mac.value for digest in digests for cells in digest.kernels.values()]
    return ("ns", 1.0) if max(times) >= _LEAST_NS else ("ps", 1000.0)


def _rows(digests: Sequence[WidthDigest]) -> Iterator[list[str]]:
    kinds, (_, units_per_ns) = _kinds(digests), _time_unit(digests)
    for digest in digests:
        kernels = [digest.kernels.get(kind) for kind in kinds]
        times = [_figure(c.ns_per_mac if c else None, units_per_ns) for c in kernels]
        energies = [_figure(c.pj_per_mac if c else None) for c in kernels]
        widths = [str(digest.weight_bits), str(digest.activation_bits)]
        yield [*widths, _figure(digest.stored_bits), *times, *energies]


def _figure(cell: Cell | None, factor: float = 1.0) -> str:
    if cell is None:
        return _BLANK
    value = cell.value * factor
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return number + MARKS[cell.kind]
