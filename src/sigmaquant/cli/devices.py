"""``sigmaquant devices``: what is known of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from sigmaquant.cli.options import Debug, Json
from sigmaquant.cli.output import print_json, print_line, print_table
from sigmaquant.devices import (
    Cell,
    Evidence,
    WidthDigest,
    available_profiles,
    load_profile,
    width_digests,
)
from sigmaquant.layers import LayerKind
from sigmaquant.units import format_bytes

devices = typer.Typer(no_args_is_help=True, help="List and show the devices.")

MARKS = {
    Evidence.MEASURED: "",
    Evidence.EMULATED: "e",
    Evidence.DERIVED: "d",
    Evidence.ESTIMATED: "~",
}
"""Printed behind a figure that was not measured on the device itself."""


@devices.command("list")
def list_devices(json: Json = False, debug: Debug = False) -> None:
    """The devices that can be named with --device."""
    profiles = [load_profile(name) for name in available_profiles()]
    if json:
        print_json([{"name": p.name, "title": p.title, "stack": p.stack} for p in profiles])
        return
    print_table(("name", "device"), [(p.name, p.title) for p in profiles], text_columns=2)


@devices.command("show")
def show_device(
    name: Annotated[str, typer.Argument(help="Name of a device, or a TOML profile.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Memory, latency and energy of one weight and one multiply-accumulate at each width.

    Example: sigmaquant devices show cortex-m4
    """
    profile = load_profile(name)
    digests = width_digests(profile)
    if json:
        print_json([digest.model_dump(mode="json") for digest in digests])
        return
    flash, ram = profile.memory.flash_bytes, profile.memory.ram_bytes
    print_line(f"{profile.name}: {profile.title}, {profile.core} at {profile.clock.mhz:g} MHz")
    print_line(f"flash {_size(flash)}, RAM {_size(ram)}; {profile.stack}")
    if profile.notes:
        print_line(profile.notes)
    print_table(_columns(digests), [_row(digest, _kinds(digests)) for digest in digests])
    print_line("marks: " + ", ".join(f"{m or 'none'} {kind.value}" for kind, m in MARKS.items()))


def _size(size: int | None) -> str:
    return "unknown" if size is None else format_bytes(size)


def _kinds(digests: Sequence[WidthDigest]) -> list[LayerKind]:
    """Operator kinds that run at some width, in the profile's order."""
    return list(dict.fromkeys(kind for digest in digests for kind in digest.kernels))


def _columns(digests: Sequence[WidthDigest]) -> list[str]:
    names = [kind.removesuffix("_conv") for kind in _kinds(digests)]
    units = ("ns/MAC", "pJ/MAC")
    return ["bits", "stored\nbits", *(f"{unit}\n{name}" for unit in units for name in names)]


def _row(digest: WidthDigest, kinds: Sequence[LayerKind]) -> list[str]:
    kernels = [digest.kernels.get(kind) for kind in kinds]
    times = ["-" if cells is None else _figure(cells.ns_per_mac) for cells in kernels]
    energies = ["-" if cells is None else _figure(cells.pj_per_mac) for cells in kernels]
    return [str(digest.weight_bits), _figure(digest.stored_bits), *times, *energies]


def _figure(cell: Cell) -> str:
    number = f"{cell.value:,.0f}" if cell.value >= 100 else f"{cell.value:.3g}"
    return number + MARKS[cell.kind]
