"""``sigmaquant check``: whether the calibration data stand for what the network will see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
from sigmaquant.errors import GateError

if TYPE_CHECKING:
    from sigmaquant.calibration_check import CalibrationCheck


def check(
    network: options.Network,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    deployment: Annotated[str | None, options.DEPLOYMENT] = None,
    evaluation: Annotated[str | None, options.EVALUATION] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="SCORES.json",
            help="Written by [b]sigmaquant score[/b] with the same calibration data: are they "
            "stable?",
        ),
    ] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    config: Config = None,
    out: Annotated[Path, options.OUT] = Path("check.json"),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Compare the calibration data with data from deployment, and say what to do.

    Looks for values outside the calibrated ranges, layers whose inputs have shifted, scores that
    are not stable, inputs scaled in another way, missing classes. Exits with 4 after a warning,
    with 0 after notes.

    Example: sigmaquant check network.pt2 --calibration calibration.npz --deployment field.npz
    """
    from sigmaquant.calibration import check_calibration
    from sigmaquant.network import Network
    from sigmaquant.scores import SensitivityTable

    data = data_settings(
        config,
        calibration=calibration,
        deployment=deployment,
        evaluation=evaluation,
        batch_size=batch_size,
        calibration_samples=calibration_samples,
    )
    captured = Network.load(network)
    other = data.deployment or data.evaluation
    found = check_calibration(
        captured,
        calibration_batches(captured, data),
        None if other is None else data.open(other),
        None if scores is None else SensitivityTable.load(scores),
        compared_with="evaluation" if data.deployment is None else "deployment",
        seed=seed,
    )
    found.save(out)
    if json:
        print_line(found.model_dump_json(indent=1))
    else:
        _print_check(found)
        print_line(f"check: {out}")
    if found.warnings:
        raise GateError(f"the calibration data gave cause for warning: {found.headline}")


def _print_check(found: CalibrationCheck) -> None:
    print_line(found.headline)
    for finding in found.findings:
        print_line(f"{finding.severity}: {finding.text}")
