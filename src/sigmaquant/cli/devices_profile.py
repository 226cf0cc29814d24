"""``sigmaquant devices profile``: measure a device, or emulate it, and write its profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from sigmaquant.profiling.profiled import Profiled


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        target: a key of ``TARGETS``.
        name: of the new profile.
        threads: of the runtime, where the target has several.
    """

    target: str
    name: str
    threads: int


def _host(request: Request) -> Profiled:
    from sigmaquant.profiling.host import profile_host

    return profile_host(request.name, threads=request.threads)


def _emulated(request: Request) -> Profiled:
    from sigmaquant.profiling.emulated import profile_emulated

    return profile_emulated(request.target, request.name)


TARGETS: dict[str, Callable[[Request], Profiled]] = {
    "host": _host,
    "cortex-m4": _emulated,
    "cortex-m7": _emulated,
}
"""By the name that ``--target`` takes."""


def profile_device(
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="host: the kernels of ONNX Runtime on this machine. cortex-m4, cortex-m7: those "
            "of the C export, compiled and emulated.",
        ),
    ] = "host",
    name: Annotated[
        str | None, typer.Option(help="The new profile's. By default that of the file it goes to.")
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of the runtime, inside an operator.")
    ] = 1,
    out: Annotated[Path | None, options.OUT] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Time or emulate a device's kernels over a grid of shapes, and fit a profile to them.

    The table shows how far the fit misses each measurement that it has not seen. Emulated cycles
    are those of a documented model, the same in every run; the file is TARGET.toml by default.

    Example: sigmaquant devices profile --target host --out host.toml

    Example: sigmaquant devices profile --target cortex-m4 --out m4.toml
    """
    from sigmaquant.devices.profile_file import write_profile
    from sigmaquant.errors import ConfigError

    if target not in TARGETS:
        raise ConfigError(f"unknown target {target!r}; there is {', '.join(TARGETS)}")
    path = out or Path(f"{target}.toml")
    found = TARGETS[target](Request(target, name or path.stem, threads))
    write_profile(found.profile, path)
    if json:
        print_json(found.profile.model_dump(mode="json", exclude_none=True))
    else:
        _print_profiled(found)
        print_line(f"profile: {path}")


def _print_profiled(found: Profiled) -> None:
    from sigmaquant.devices.energy_models import UnknownEnergy

    rows = [
        (row.name, _amount(row.measured), f"{row.error:+.1%}", f"{row.left_out:+.1%}")
        for row in found.rows
    ]
    print_table(("measured", found.unit, "error\nfitted", "error\nleft out"), rows)
    known = found.profile.uncertainty
    if known is not None:
        worst = known.latency_worst_percent
        most = "" if worst is None else f", at most {worst:g} %"
        print_line(f"error of a layer left out of the fit: {known.latency_percent:g} %{most}")
    if isinstance(found.profile.energy, UnknownEnergy):
        print_line(found.profile.energy.reason)


def _amount(measured: float) -> str:
    return f"{measured:,.0f}" if measured >= 1000 else f"{measured:.4g}"
