"""``sigmaquant finetune``: training that repairs what quantization lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line
from sigmaquant.cli.quantize import PLAN
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
from sigmaquant.errors import ConfigError


def finetune(
    network: options.Network,
    plan: Annotated[Path, PLAN],
    training: Annotated[str | None, options.TRAINING] = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Start from this result of [b]sigmaquant quantize[/b]."),
    ] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    config: Config = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 5,
    out: Annotated[Path, options.OUT] = Path("finetuned.safetensors"),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train the quantized network to answer like the float one.

    Killed, it goes on where it stopped when it is started again.

    Example: sigmaquant finetune network.pt2 plan.json --training training.npz
    --calibration calibration.npz
    """
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.finetune import finetune as finetune_network
    from sigmaquant.network import Network
    from sigmaquant.quantized import QuantizedNetwork
    from sigmaquant.run_directory import fingerprint

    data = data_settings(config, training=training, calibration=calibration, batch_size=batch_size)
    if data.training is None:
        raise ConfigError("training data are missing: give --training, or --config")
    captured = Network.load(network)
    source = data.open(data.training, shuffle=True, seed=seed)
    # A checkpoint knows what it trains, but not on which data.
    trained_on = fingerprint(source.digest, data.batch_size)[:12]
    tuned = finetune_network(
        captured,
        BitPlan.load(plan),
        source,
        epochs=epochs,
        start=QuantizedNetwork.load(start, captured) if start else None,
        calibration=calibration_batches(captured, data) if data.calibration else None,
        seed=seed,
        checkpoint=out.with_name(f"{out.name}-{trained_on}.partial"),
    )
    tuned.save(out)
    if json:
        print_json({"finetuned": str(out)})
    else:
        print_line(f"fine-tuned for {epochs} epochs: {out}")
