"""``sigmaquant devices estimate``: what a vendor's own tool says of an exported file."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line, print_table
from sigmaquant.units import format_bytes

if TYPE_CHECKING:
    from sigmaquant.devices.estimators import FileEstimate


def estimate_file(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="An exported file.")],
    estimator: Annotated[
        str, typer.Option("--with", metavar="TOOL", help="The vendor's tool: vela.")
    ] = "vela",
    target: Annotated[
        str | None, typer.Option(metavar="CHIP", help="By default the tool's usual one.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Ask a vendor's estimator for the time and memory of an exported file on its chip.

    Example: sigmaquant devices estimate model.tflite --with vela --target ethos-u55-128
    """
    from sigmaquant.devices.estimators import ESTIMATORS
    from sigmaquant.errors import ConfigError

    if estimator not in ESTIMATORS:
        raise ConfigError(f"unknown estimator {estimator!r}; there is {', '.join(ESTIMATORS)}")
    tool = ESTIMATORS[estimator]
    found = tool.estimate(model, target or tool.targets()[0])
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        _print_estimate(found)


def _print_estimate(found: FileEstimate) -> None:
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
    memory = f"{format_bytes(found.flash_bytes)}, RAM {format_bytes(found.ram_bytes)}"
    print_line(f"flash {memory}")
