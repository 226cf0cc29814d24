"""``sigmaquant search``: the widths that a device's budgets allow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.budget import Budget, format_cost
from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.report.model import METRIC_TITLES

if TYPE_CHECKING:
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.costs import CostTable
    from sigmaquant.layers import LayerTable


def search(
    network: options.Network,
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES.json", help="Written by [b]sigmaquant score[/b].")
    ],
    device: Annotated[str, options.DEVICE],
    flash: options.Flash = None,
    ram: options.Ram = None,
    latency: options.Latency = None,
    energy: options.Energy = None,
    strategy: Annotated[
        str, typer.Option(help="How the widths are chosen: exact or greedy.")
    ] = "exact",
    out: Annotated[Path, options.OUT] = Path("plan.json"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Choose the width of every layer that loses least within the budgets.

    Example: sigmaquant search network.pt2 scores.json --device cortex-m4 --flash 64KiB
    """
    from sigmaquant.costs import cost_table
    from sigmaquant.devices import load_profile
    from sigmaquant.network import Network
    from sigmaquant.scores import SensitivityTable
    from sigmaquant.stages import search as search_plan

    table = Network.load(network).table
    profile = load_profile(device)
    budget = Budget(flash=flash, ram=ram, latency=latency, energy=energy)
    plan = search_plan(
        table, SensitivityTable.load(scores), device=profile, budget=budget, strategy=strategy
    )
    plan.save(out)
    if json:
        print_line(plan.model_dump_json(indent=1))
    else:
        _print_plan(plan, table, cost_table(table, profile), budget)
        print_line(f"plan: {out}")


def _print_plan(plan: BitPlan, table: LayerTable, costs: CostTable, budget: Budget) -> None:
    rows = [
        (layer.name, f"{layer.weights:,}", str(plan.weight_bits[layer.name]))
        for layer in table.layers
    ]
    print_table(("layer", "weights", "bits"), rows)
    limits, totals = budget.limits(), costs.totals(plan)
    for metric, title in METRIC_TITLES.items():
        limit = f" of {format_cost(metric, limits[metric])}" if metric in limits else ""
        used = format_cost(metric, totals[metric])
        print_line(f"{title}: {used}{limit} ({costs.marks[metric]})")
