"""``sigmaquant search``: the widths that a device's budgets allow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.budget import Budget, format_cost
from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
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
    runtime: Annotated[str | None, options.RUNTIME] = None,
    flash: options.Flash = None,
    ram: options.Ram = None,
    latency: options.Latency = None,
    energy: options.Energy = None,
    strategy: Annotated[
        str, typer.Option(help="How the widths are chosen: exact, greedy, sigma or refine.")
    ] = "exact",
    activation_bits: options.ActivationBits = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    config: Config = None,
    rounding: Annotated[
        str | None,
        typer.Option(help="Of the plans measured; by default as the runtime stores weights."),
    ] = None,
    seed: Annotated[int, options.SEED] = 0,
    out: Annotated[Path, options.OUT] = Path("plan.json"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Choose the width of every layer that loses least within the budgets.

    With calibration data, plans are measured on a quarter of them that is held back: the answer
    beside all uniform plans, and with the strategy refine also what it tries.

    Example: sigmaquant search network.pt2 scores.json --device cortex-m4 --flash 64KiB

    Example: sigmaquant search network.pt2 scores.json --device cortex-m4 --flash 64KiB
    --strategy refine --calibration calibration.npz
    """
    from sigmaquant.costs import cost_table
    from sigmaquant.devices import load_profile
    from sigmaquant.network import Network
    from sigmaquant.scores import SensitivityTable
    from sigmaquant.stages import search as search_plan

    data = data_settings(
        config,
        calibration=calibration,
        batch_size=batch_size,
        calibration_samples=calibration_samples,
    )
    captured = Network.load(network)
    table = captured.table
    profile = load_profile(device, runtime)
    sensitivities = SensitivityTable.load(scores)
    budget = Budget(flash=flash, ram=ram, latency=latency, energy=energy)
    plan = search_plan(
        captured,
        sensitivities,
        device=profile,
        budget=budget,
        strategy=strategy,
        activation_bits=activation_bits,
        calibration=calibration_batches(captured, data) if data.calibration else None,
        rounding=rounding,
        seed=seed,
    )
    plan.save(out)
    if json:
        print_line(plan.model_dump_json(indent=1))
    else:
        print_plan(plan, table, cost_table(table, profile, sensitivities), budget)
        print_line(f"plan: {out}")


def print_plan(plan: BitPlan, table: LayerTable, costs: CostTable, budget: Budget) -> None:
    """Print the widths, and what they cost of the budget."""
    rows = [
        (layer.name, f"{layer.weights:,}", str(plan.weight_bits[layer.name]))
        for layer in table.layers
    ]
    print_table(("layer", "weights", "bits"), rows)
    if len(set(plan.activation_bits.values())) > 1:
        widths = [(group, str(bits)) for group, bits in plan.activation_bits.items()]
        print_table(("activations", "bits"), widths)
    limits, totals = budget.limits(), costs.totals(plan)
    for metric, title in METRIC_TITLES.items():
        if metric not in costs.marks:
            continue
        limit = f" of {format_cost(metric, limits[metric])}" if metric in limits else ""
        used = format_cost(metric, totals[metric])
        print_line(f"{title}: {used}{limit} ({costs.marks[metric]})")
