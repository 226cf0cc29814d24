"""``sigmaquant quantize``: a plan applied with calibration data alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line
from sigmaquant.cli.reading import Config, calibration_batches, data_settings

PLAN = typer.Argument(metavar="PLAN.json", help="Written by [b]sigmaquant search[/b].")


def quantize(
    network: options.Network,
    plan: Annotated[Path, PLAN],
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    config: Config = None,
    rounding: Annotated[str, options.ROUNDING] = "compensated",
    mirrored: Annotated[bool, options.MIRRORED_TOO] = False,
    reconstruct: Annotated[int, options.RECONSTRUCT] = 0,
    out: Annotated[Path, options.OUT] = Path("quantized.safetensors"),
    seed: Annotated[int, options.SEED] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Round the weights to a plan's widths; no labels, no training data.

    Example: sigmaquant quantize network.pt2 plan.json --calibration calibration.npz

    Example: sigmaquant quantize network.pt2 plan.json --calibration calibration.npz
    --reconstruct 600
    """
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.network import Network
    from sigmaquant.quantized import quantize as quantize_network
    from sigmaquant.reconstruction import reconstruct as reconstruct_blocks

    data = data_settings(
        config,
        calibration=calibration,
        batch_size=batch_size,
        calibration_samples=calibration_samples,
    )
    captured = Network.load(network)
    loaded = BitPlan.load(plan)
    batches = calibration_batches(captured, data)
    quantized = quantize_network(captured, loaded, batches, rounding=rounding, mirrored=mirrored)
    if reconstruct:
        quantized = reconstruct_blocks(
            captured, quantized, batches, steps=reconstruct, rounding=rounding, seed=seed
        )
    quantized.save(out)
    if json:
        print_json({"quantized": str(out)})
    else:
        bits = loaded.mean_weight_bits(captured.table)
        print_line(f"quantized to {bits:.2f} bits a weight: {out}")
