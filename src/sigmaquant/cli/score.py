"""``sigmaquant score``: how much each layer suffers from each width."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
from sigmaquant.layers import WIDTHS
from sigmaquant.scores import SensitivityTable


def score(
    network: options.Network,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    config: Config = None,
    metric: Annotated[str, typer.Option(help="How layers are scored: loss or taylor.")] = "loss",
    rounding: Annotated[
        str, typer.Option(help="Of the weights: compensated or nearest.")
    ] = "compensated",
    out: Annotated[Path, options.OUT] = Path("scores.json"),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure the rise of the loss when one layer alone has 2 to 8 bits.

    Killed, it goes on where it stopped when it is started again.

    Example: sigmaquant score network.pt2 --calibration calibration.npz
    """
    from sigmaquant.network import Network
    from sigmaquant.sensitivity import score as score_layers

    data = data_settings(
        config,
        calibration=calibration,
        batch_size=batch_size,
        calibration_samples=calibration_samples,
    )
    captured = Network.load(network)
    scores = score_layers(
        captured,
        calibration_batches(captured, data),
        metric=metric,
        rounding=rounding,
        seed=seed,
        checkpoint=out.with_name(f"{out.name}.partial"),
    )
    scores.save(out)
    if json:
        print_line(scores.model_dump_json(indent=1))
    else:
        _print_scores(scores)
        print_line(f"scores: {out}")


def _print_scores(scores: SensitivityTable) -> None:
    rows = [
        (layer, *(f"{by_width[w].rise:.2g}" if w in by_width else "-" for w in WIDTHS))
        for layer, by_width in scores.scores.items()
    ]
    print_line(f"rise of {scores.loss} over {scores.samples} samples, by bits")
    print_table(("layer", *map(str, WIDTHS)), rows)
