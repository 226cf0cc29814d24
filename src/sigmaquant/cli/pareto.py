"""``sigmaquant pareto``: what every saving costs, as plans to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.budget import Budget
from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.cli.reading import layer_table

if TYPE_CHECKING:
    from sigmaquant.costs import CostTable
    from sigmaquant.layers import LayerTable
    from sigmaquant.search import Front

_SEARCH = "Search"


def pareto(
    network: Annotated[
        Path,
        typer.Argument(
            metavar="NETWORK.pt2",
            help="Captured by [b]sigmaquant capture[/b]; or its layer table, a .json file.",
        ),
    ],
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES.json", help="Written by [b]sigmaquant score[/b].")
    ],
    device: Annotated[str, options.DEVICE],
    runtime: Annotated[str | None, options.RUNTIME] = None,
    flash: options.Flash = None,
    ram: options.Ram = None,
    latency: options.Latency = None,
    energy: options.Energy = None,
    activation_bits: options.ActivationBits = None,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Two or three of rise, flash_bytes, latency_ms, energy_uj and, where activation "
            "widths are chosen, peak_ram_bytes.",
            rich_help_panel=_SEARCH,
        ),
    ] = "rise,flash_bytes",
    points: Annotated[
        int,
        typer.Option(metavar="N", min=2, help="So many plans at most.", rich_help_panel=_SEARCH),
    ] = 12,
    out: Annotated[Path, options.OUT] = Path("front.json"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show what every saving costs: plans of which none is better than another in all metrics.

    The knee is where savings begin to cost more. To get the plan of a line, give its figures to
    sigmaquant search as budgets.

    Example: sigmaquant pareto network.pt2 scores.json --device cortex-m4 --latency 40ms
    """
    from sigmaquant.costs import cost_table
    from sigmaquant.devices import load_profile
    from sigmaquant.scores import SensitivityTable
    from sigmaquant.stages import pareto as find_front

    table = layer_table(network)
    profile = load_profile(device, runtime)
    sensitivities = SensitivityTable.load(scores)
    front = find_front(
        table,
        sensitivities,
        device=profile,
        budget=Budget(flash=flash, ram=ram, latency=latency, energy=energy),
        metrics=[name.strip() for name in metrics.split(",")],
        points=points,
        activation_bits=activation_bits,
    )
    front.save(out)
    if json:
        print_line(front.model_dump_json(indent=1))
    else:
        _print_front(front, table, cost_table(table, profile, sensitivities))
        print_line(f"front: {out}")


def _print_front(front: Front, table: LayerTable, costs: CostTable) -> None:
    rows = [
        (
            f"{at + 1} knee" if at == front.knee else f"{at + 1}",
            f"{point.plan.mean_weight_bits(table):.2f}",
            *(_shown(metric, value) for metric, value in front.values(at).items()),
            point.status,
        )
        for at, point in enumerate(front.points)
    ]
    print_table(("plan", "bits a weight", *front.metrics, "proof"), rows)
    for metric in front.metrics:
        if metric in costs.marks:
            print_line(f"{metric}: {costs.marks[metric]}")


def _shown(metric: str, value: float) -> str:
    """A value as people read it; costs are rounded so that they are enough as a budget."""
    from sigmaquant.search.reachability import rounded_up

    return f"{value:.4g}" if metric == "rise" else rounded_up(metric, value)
