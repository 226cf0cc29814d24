"""``sigmaquant verify``: an exported C library beside the integer reference, once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.errors import ConfigError, MissingToolError

if TYPE_CHECKING:
    import numpy.typing as npt

    from sigmaquant.export.c.comparison import Comparison
    from sigmaquant.lowering import IntegerProgram
    from sigmaquant.profiling.counts import Count
    from sigmaquant.profiling.verification import EmulatedVerification

    Arrays = Mapping[str, npt.NDArray[Any]]

_MOST_NAMED = 2


def verify(
    library: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Written by [b]sigmaquant export --format c[/b]."),
    ],
    emulate: Annotated[
        str | None,
        typer.Option(
            metavar="CORE",
            help="cortex-m4 or cortex-m7: build for it, run in an emulator and count.",
        ),
    ] = None,
    program: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The integer record, program.safetensors of a run, that gives the reference for "
            "--inputs. By default the samples that the library brings with it are compared.",
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Samples as --calibration takes them."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="So many of them at most.")] = 32,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare a C library with the integer reference: on this machine, or on an emulated Cortex-M.

    Emulation also counts instructions and cycles of each layer, the same in every run. Cycles are
    those of a documented model with memory that answers at once: a board adds wait states.

    Example: sigmaquant verify model_c --emulate cortex-m4

    Example: sigmaquant verify model_c --emulate cortex-m7 --program out/program.safetensors
    --inputs test.npz
    """
    given, wanted = _vectors(library, program, inputs, samples)
    if emulate is None:
        _print_comparison(_on_this_machine(library, given, wanted), json)
    else:
        _print_emulation(_emulated(library, emulate, given, wanted), json)


def _vectors(
    library: Path, program: Path | None, inputs: Path | None, samples: int
) -> tuple[Arrays, Arrays]:
    """Inputs, and what the reference computes from them."""
    from sigmaquant.export.c.folder import read_check_vectors

    if program is None and inputs is None:
        return read_check_vectors(library)
    if program is None or inputs is None:
        raise ConfigError("--program and --inputs go together: reference and samples")
    from sigmaquant.data.arrays import read_npz
    from sigmaquant.lowering import run_reference
    from sigmaquant.lowering.storage import load_program

    record, arrays = load_program(program), read_npz(inputs).inputs
    if len(arrays) != len(record.inputs):
        raise ConfigError(f"{inputs} has {len(arrays)} inputs, the network {len(record.inputs)}")
    named = zip(record.inputs, arrays, strict=True)
    given = {name: array[:samples].numpy() for name, array in named}
    _check_ports(library, record, program)
    for name, array in given.items():
        if array.shape[1:] != record.values[name].shape:
            raise ConfigError(
                f"{inputs}: a sample of {name} has shape {array.shape[1:]}, the network takes "
                f"{record.values[name].shape}"
            )
    return given, run_reference(record, given)


def _check_ports(library: Path, record: IntegerProgram, path: Path) -> None:
    """Check that a record can be the library's own.

    Raises:
        ConfigError: it has other inputs or outputs.
    """
    from sigmaquant.export.c.manifest import Manifest

    manifest = Manifest.load(library / "model.json")
    for names, ports in ((record.inputs, manifest.inputs), (record.outputs, manifest.outputs)):
        here = {port.name: port.shape for port in ports}
        there = {name: record.values[name].shape for name in names}
        if here != there:
            raise ConfigError(
                f"{path} is the record of another network: {library} has {here}, it has {there}"
            )


def _on_this_machine(library: Path, inputs: Arrays, expected: Arrays) -> Comparison:
    from sigmaquant.export.c.comparison import compared
    from sigmaquant.export.c.compiler import NONE_FOUND, find_compiler
    from sigmaquant.export.c.manifest import Manifest
    from sigmaquant.export.c.runtime import CNetwork

    compiler = find_compiler()
    if compiler is None:
        raise MissingToolError(f"{NONE_FOUND}: install one, or use --emulate cortex-m4")
    tolerance = Manifest.load(library / "model.json").tolerance
    return compared(CNetwork(library, compiler).run(inputs), expected, tolerance)


def _emulated(library: Path, core: str, inputs: Arrays, expected: Arrays) -> EmulatedVerification:
    from sigmaquant.profiling.cores import core_named
    from sigmaquant.profiling.cross_compiler import find_cross_compiler

    chosen, compiler = core_named(core), find_cross_compiler()
    from sigmaquant.profiling.verification import verify_emulated

    return verify_emulated(library, chosen, compiler, inputs, expected)


def _print_comparison(found: Comparison, json: bool) -> None:
    print_line(found.model_dump_json(indent=1) if json else f"{_agreement(found)} on this machine")


def _agreement(found: Comparison) -> str:
    how = f"to {found.largest_difference:g}" if found.differing else "bit for bit"
    return f"{found.samples} samples agree with the integer reference {how}"


def _print_emulation(found: EmulatedVerification, json: bool) -> None:
    if json:
        print_line(found.model_dump_json(indent=1))
        return
    rows = [
        (each.step.name, each.step.operator, _busiest(each.functions), *_figures(each.count, found))
        for each in found.steps
    ]
    rows.append(("all", "", "", *_figures(found.count, found)))
    columns = ("step", "operator", "mostly in", "instructions", "cycles", "share")
    print_table(columns, rows, text_columns=3)
    print_line(
        f"{found.text_bytes:,} bytes of code and constants, {found.data_bytes:,} of initial "
        f"values, {found.zeroed_bytes:,} of zeroed RAM; {found.compiler}"
    )
    print_line(f"{_agreement(found.outputs)} on an emulated {found.core}; the first was counted")


def _figures(count: Count, found: EmulatedVerification) -> tuple[str, str, str]:
    share = count.cycles / found.count.cycles
    return f"{count.instructions:,}", f"{count.cycles:,}", f"{share:.1%}"


def _busiest(functions: Mapping[str, Count]) -> str:
    """The functions in which most cycles were spent; they come first."""
    return ", ".join(list(functions)[:_MOST_NAMED])
