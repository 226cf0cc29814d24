"""``sigmaquant devices firmware``: a program that times an exported library on a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line


def write_board_firmware(
    library: Annotated[
        Path,
        typer.Argument(metavar="MODEL_C", help="Folder of [b]sigmaquant export --format c[/b]."),
    ],
    network: Annotated[
        Path,
        typer.Option(metavar="NETWORK.pt2", help="What it was exported from."),
    ],
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN.json",
            help="Its plan, where activations have other widths than 8 bits.",
        ),
    ] = None,
    out: Annotated[Path, options.OUT] = Path("firmware"),
    debug: options.Debug = False,
) -> None:
    """Write C code that times each layer on a board and prints what devices fit reads.

    Example: sigmaquant devices firmware model_c --network network.pt2 --out firmware
    """
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.cli.reading import layer_table
    from sigmaquant.profiling.firmware import write_firmware

    widths = BitPlan.load(plan) if plan else None
    write_firmware(library, layer_table(network), out, widths)
    print_line(f"firmware: {out}; try it here with: make -C {out} board.csv")
    print_line("on a board: compile its .c files with -DBENCH_HZ=..., save what bench() prints")
    print_line(f"then: sigmaquant devices fit --profile NAME --measurements {out / 'board.csv'}")
