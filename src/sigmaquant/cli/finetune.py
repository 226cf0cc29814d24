"""``sigmaquant finetune``: training that repairs what quantization lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line
from sigmaquant.cli.quantize import PLAN
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
from sigmaquant.errors import ConfigError

if TYPE_CHECKING:
    from sigmaquant.calibration import Batch
    from sigmaquant.config import DataConfig
    from sigmaquant.data import DataSource
    from sigmaquant.network import Network


def finetune(
    network: options.Network,
    plan: Annotated[Path, PLAN],
    training: Annotated[str | None, options.TRAINING] = None,
    train_on_calibration: Annotated[bool, options.ON_CALIBRATION] = False,
    mirrored: Annotated[bool, options.MIRRORED] = False,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Start from this result of [b]sigmaquant quantize[/b]."),
    ] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    config: Config = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 5,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="At the start, relative to the size of what is moved."),
    ] = None,
    feature_weight: Annotated[float | None, options.FEATURE_WEIGHT] = None,
    damping: Annotated[float | None, options.DAMPING] = None,
    precision: Annotated[str | None, options.PRECISION] = None,
    memory: Annotated[str | None, options.MEMORY] = None,
    out: Annotated[Path, options.OUT] = Path("finetuned.safetensors"),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train the quantized network to answer like the float one.

    Killed, it goes on where it stopped when it is started again. Under [b]accelerate launch[/b] its
    processes share the work.

    Example: sigmaquant finetune network.pt2 plan.json --training training.npz
    --calibration calibration.npz
    """
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.config import RunConfig
    from sigmaquant.finetune import finetune as finetune_network
    from sigmaquant.launch import launched_ranks
    from sigmaquant.network import Network
    from sigmaquant.quantized import QuantizedNetwork
    from sigmaquant.run_directory import fingerprint

    data = data_settings(config, training=training, calibration=calibration, batch_size=batch_size)
    settings = RunConfig().overridden(
        {
            "finetune": {
                "epochs": epochs,
                "mirrored": mirrored,
                "learning_rate": learning_rate,
                "feature_weight": feature_weight,
                "damping": damping,
                "precision": precision,
                "memory": memory,
            }
        }
    )
    captured, ranks = Network.load(network), launched_ranks()
    samples = held_back = None
    if train_on_calibration:
        source, samples, held_back = _calibration_alone(captured, data, mirrored, seed)
    elif data.training is None:
        raise ConfigError(
            "training data are missing: give --training, --config, or --train-on-calibration"
        )
    else:
        source = data.open(data.training, shuffle=True, seed=seed)
        samples = calibration_batches(captured, data) if data.calibration else None
    # A checkpoint knows what it trains, but not on which data.
    trained_on = fingerprint(source.digest, data.batch_size)[:12]
    tuned = finetune_network(
        captured,
        BitPlan.load(plan),
        source,
        epochs=epochs,
        start=QuantizedNetwork.load(start, captured) if start else None,
        calibration=samples,
        validation=held_back,
        seed=seed,
        checkpoint=out.with_name(f"{out.name}-{trained_on}.partial"),
        ranks=ranks,
        **settings.finetune.options(),
    )
    ranks.from_main(lambda: tuned.save(out))
    if ranks.index > 0:
        return  # the main process prints for all
    if json:
        print_json({"finetuned": str(out)})
    else:
        print_line(f"fine-tuned for {epochs} epochs: {out}")


def _calibration_alone(
    network: Network, data: DataConfig, mirrored: bool, seed: int
) -> tuple[DataSource, tuple[Batch, ...], tuple[Batch, ...]]:
    """What is trained on, what a start is made with, and what is held back to judge."""
    from sigmaquant.calibration import data_digest
    from sigmaquant.data import DataSource, hold_back
    from sigmaquant.finetune import AugmentedBatches

    batches = calibration_batches(network, data)
    kept, held_back = hold_back(batches, data.hold_back, seed, network.batch_size or 1)
    source = AugmentedBatches(kept, network.batch_size, mirrored=mirrored)
    return DataSource(source, f"{data_digest(batches)} {mirrored}"), kept, held_back
