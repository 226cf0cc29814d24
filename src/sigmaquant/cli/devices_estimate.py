"""``sigmaquant devices estimate``: what another tool's model of a chip says of a plan."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line, print_table
from sigmaquant.units import format_bytes, format_uj

_NETWORKS = (".pt2", ".json")

if TYPE_CHECKING:
    from sigmaquant.devices.estimators import Estimate, PlannedNetwork


def estimate_file(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="For Vela a .tflite file, for ZigZag a captured .pt2."
        ),
    ],
    estimator: Annotated[
        str, typer.Option("--with", metavar="TOOL", help="The tool: vela or zigzag.")
    ] = "vela",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CHIP",
            help="By default the tool's usual one. For ZigZag also a description, chip.yaml, with "
            "chip.mapping.yaml beside it.",
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="PLAN.json", help="Of the network; by default 8 bits.")
    ] = None,
    mhz: Annotated[
        float | None, typer.Option(min=0.001, help="Clock of the chip, where the tool asks for it.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Ask another tool what a plan takes on a chip that it has a model of.

    Example: sigmaquant devices estimate model.tflite --with vela --target ethos-u55-128

    Example: sigmaquant devices estimate network.pt2 --plan plan.json --with zigzag --mhz 500
    """
    from sigmaquant.devices.estimators import ESTIMATORS
    from sigmaquant.errors import ConfigError

    if estimator not in ESTIMATORS:
        raise ConfigError(f"unknown estimator {estimator!r}; there is {', '.join(ESTIMATORS)}")
    tool = ESTIMATORS[estimator]
    if plan is not None and model.suffix not in _NETWORKS:
        raise ConfigError(f"{model} has its widths in it; --plan goes with a network")
    asked = _planned(model, plan) if model.suffix in _NETWORKS else model
    found = tool.estimate(asked, target or tool.targets()[0], mhz)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        _print_estimate(found)


def _planned(path: Path, plan: Path | None) -> PlannedNetwork:
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.cli.reading import layer_table
    from sigmaquant.devices.estimators import PlannedNetwork

    table = layer_table(path)
    if plan is None:
        return PlannedNetwork(table, BitPlan.uniform(table, 8))
    widths = BitPlan.load(plan)
    widths.check_covers(table)
    return PlannedNetwork(table, widths)


def _print_estimate(found: Estimate) -> None:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for operator in found.operators:
        if operator.latency_ms:  # what is fused into another one takes no time of its own
            times[operator.operator].append(operator.latency_ms)
    rows = [
        (name, str(len(own)), f"{sum(own):.4f}", f"{sum(own) / found.latency_ms:.0%}")
        for name, own in sorted(times.items(), key=lambda item: -sum(item[1]))
    ]
    print_table(("operator", "count", "ms", "share"), rows)
    print_line(f"{found.target}: {found.latency_ms:.4g} ms, estimated by {found.tool}")
    if found.flash_bytes is not None and found.ram_bytes is not None:
        memory = f"{format_bytes(found.flash_bytes)}, RAM {format_bytes(found.ram_bytes)}"
        print_line(f"flash {memory}")
    if found.energy_uj is not None:
        print_line(f"{format_uj(found.energy_uj)}, layers with weights alone")
