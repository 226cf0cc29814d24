"""``sigmaquant devices fit``: bring a profile to what a board measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line, print_table
from sigmaquant.cli.reading import layer_table

if TYPE_CHECKING:
    from sigmaquant.costs.calibrate import BoardFit, MeasuredRun
    from sigmaquant.devices.measurements import Measurement

_BLANK = "-"


def fit_device(
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What to start from: a device's name, or a TOML profile."
        ),
    ],
    measurements: Annotated[
        Path,
        typer.Option(
            metavar="CSV",
            help="Columns network (a captured .pt2) and latency_ms; if known layer, plan (a "
            ".json; 8 bits without) and energy_uj. Paths are relative to the file.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="The new profile's. By default that of the file it goes to.")
    ] = None,
    out: Annotated[Path, options.OUT] = Path("board.toml"),
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit a profile to times, and energies if there are any, that were measured on a board.

    The new profile is the old one with a factor for each operator kind. One measured network gives
    one factor; more of them, or single layers, let the kinds part. A profile names its software
    stack: measure with the one that will run.

    Example: sigmaquant devices fit --profile cortex-m4 --measurements board.csv --out board.toml
    """
    from sigmaquant.costs.calibrate import calibrate
    from sigmaquant.devices import load_profile, profile_path
    from sigmaquant.devices.fitted_file import write_fitted
    from sigmaquant.devices.measurements import read_measurements

    start = load_profile(profile)
    runs = measured_runs(read_measurements(measurements))
    rows = "1 measurement" if len(runs) == 1 else f"{len(runs)} measurements"
    fit = calibrate(start, runs, f"{rows} in {measurements.name}, fitted from {start.name}")
    write_fitted(profile_path(profile), name or out.stem, fit.calibration, out)
    if json:
        print_json({**fit.calibration.model_dump(mode="json"), "advice": fit.advice})
    else:
        _print_fit(fit, runs)
        print_line(f"profile: {out}")


def measured_runs(rows: Sequence[Measurement]) -> list[MeasuredRun]:
    """The rows of a CSV file with the networks and plans that they name, each read once.

    Raises:
        ArtifactError: a network or plan that cannot be read.
    """
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.costs.calibrate import MeasuredRun

    tables = {path: layer_table(path) for path in dict.fromkeys(row.network for row in rows)}
    return [
        MeasuredRun(
            name=f"{row.network.name} {row.layer}" if row.layer else row.network.name,
            table=tables[row.network],
            plan=BitPlan.load(row.plan) if row.plan else BitPlan.uniform(tables[row.network], 8),
            latency_ms=row.latency_ms,
            layer=row.layer,
            energy_uj=row.energy_uj,
        )
        for row in rows
    ]


def _print_fit(fit: BoardFit, runs: Sequence[MeasuredRun]) -> None:
    left_out = [f"{error:+.1%}" for error in fit.left_out] or [_BLANK] * len(runs)
    errors = zip(runs, fit.before, fit.after, left_out, strict=True)
    rows = [
        (run.name, f"{run.latency_ms:g}", f"{before:+.1%}", f"{after:+.1%}", left)
        for run, before, after, left in errors
    ]
    print_table(("measured", "ms", "error\nbefore", "error\nfitted", "error\nleft out"), rows)
    found = fit.calibration
    factors = [f"{kind} {scale:.3g}" for kind, scale in found.latency_scale.items()]
    print_line(f"times: {', '.join(factors)}, other {found.other_latency_scale:.3g}")
    print_line(f"energies: {found.energy_scale:.3g}")
    if found.left_out_percent is not None:
        print_line(f"median error of left-out rows: {found.left_out_percent:.1f} %")
    for sentence in fit.advice:
        print_line(f"next: {sentence}")
