"""``sigmaquant score``: how much each layer suffers from each width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
from sigmaquant.errors import ConfigError
from sigmaquant.layers import ACTIVATION_WIDTHS, WIDTHS
from sigmaquant.scores import Score, SensitivityTable


def score(
    network: options.Network,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    config: Config = None,
    metric: Annotated[
        str, typer.Option(help="How layers are scored: taylor, loss or sigma.")
    ] = "taylor",
    rounding: Annotated[str, options.ROUNDING] = "compensated",
    activation_widths: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHS",
            help="Score activations too, at these widths, such as 4,8: for devices that run "
            "several.",
        ),
    ] = None,
    out: Annotated[Path, options.OUT] = Path("scores.json"),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Find the rise of the loss when one layer alone has 2 to 8 bits.

    Killed, it goes on where it stopped when it is started again. The metric sigma looks at the
    weights alone and needs no calibration data.

    Example: sigmaquant score network.pt2 --calibration calibration.npz
    """
    from sigmaquant.launch import launched_ranks
    from sigmaquant.network import Network
    from sigmaquant.sensitivity import score as score_layers
    from sigmaquant.sensitivity.score import WITHOUT_DATA

    data = data_settings(
        config,
        calibration=calibration,
        batch_size=batch_size,
        calibration_samples=calibration_samples,
    )
    captured, ranks = Network.load(network), launched_ranks()
    scores = score_layers(
        captured,
        None if metric == WITHOUT_DATA else calibration_batches(captured, data),
        metric=metric,
        rounding=rounding,
        activation_widths=_widths(activation_widths),
        seed=seed,
        checkpoint=out.with_name(f"{out.name}.partial"),
        ranks=ranks,
    )
    ranks.from_main(lambda: scores.save(out))
    if ranks.index > 0:
        pass  # the main process prints for all
    elif json:
        print_line(scores.model_dump_json(indent=1))
    else:
        _print_scores(scores)
        print_line(f"scores: {out}")


def _widths(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--activation-widths: expected numbers of bits such as 4,8, not {text!r}"
        ) from None


def _print_scores(scores: SensitivityTable) -> None:
    over = f" over {scores.samples} samples" if scores.samples else ""
    print_line(f"rise of {scores.loss}{over}, by bits")
    _print_rises("layer", scores.scores, WIDTHS)
    if scores.activation_scores:
        print_line("the same for activations")
        _print_rises("precision group", scores.activation_scores, ACTIVATION_WIDTHS)


def _print_rises(
    what: str, scores: Mapping[str, Mapping[int, Score]], widths: Sequence[int]
) -> None:
    shown = [w for w in widths if any(w in by_width for by_width in scores.values())]
    rows = [
        (name, *(f"{by_width[w].rise:.2g}" if w in by_width else "-" for w in shown))
        for name, by_width in scores.items()
    ]
    print_table((what, *map(str, shown)), rows)
