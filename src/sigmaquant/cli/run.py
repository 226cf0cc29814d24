"""``sigmaquant run``: the whole road, from a model to a verified file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import console, print_line

_RUN = "Run"


def run(
    config: Annotated[
        Path | None,
        typer.Argument(help="TOML file with the settings; flags override it.", show_default=False),
    ] = None,
    model: Annotated[str | None, options.MODEL] = None,
    weights: Annotated[Path | None, options.WEIGHTS] = None,
    dequantize: Annotated[bool | None, options.DEQUANTIZE] = None,
    float_layer: Annotated[list[str] | None, options.FLOAT_LAYERS] = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    training: Annotated[str | None, options.TRAINING] = None,
    train_on_calibration: Annotated[bool | None, options.ON_CALIBRATION] = None,
    mirrored: Annotated[bool | None, options.MIRRORED] = None,
    evaluation: Annotated[str | None, options.EVALUATION] = None,
    deployment: Annotated[str | None, options.DEPLOYMENT] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    device: Annotated[str | None, options.DEVICE] = None,
    runtime: Annotated[str | None, options.RUNTIME] = None,
    flash: options.Flash = None,
    ram: options.Ram = None,
    latency: options.Latency = None,
    energy: options.Energy = None,
    activation_bits: options.ActivationBits = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How the widths are chosen: exact, greedy, sigma or refine.", rich_help_panel=_RUN
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="How layers are scored: taylor, loss or sigma.", rich_help_panel=_RUN),
    ] = None,
    rounding: Annotated[
        str | None, typer.Option(help=options.ROUNDING_HELP, rich_help_panel=_RUN)
    ] = None,
    reconstruct: Annotated[int | None, options.RECONSTRUCT] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of fine-tuning; 0 for none.", rich_help_panel=_RUN),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Of fine-tuning, at its start.", rich_help_panel=_RUN),
    ] = None,
    feature_weight: Annotated[float | None, options.FEATURE_WEIGHT] = None,
    damping: Annotated[float | None, options.DAMPING] = None,
    precision: Annotated[str | None, options.PRECISION] = None,
    memory: Annotated[str | None, options.MEMORY] = None,
    revise: Annotated[bool | None, options.REVISE] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Of the exported file: onnx, the default, tflite, tflm, c, qnn or qonnx.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    coded: Annotated[bool | None, options.CODED] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            min=0,
            help="Exit with code 4 if the accuracy drops by more percentage points.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of all results; a run in it goes on where it stopped.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    seed: Annotated[int | None, options.SEED] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Do everything: capture, check, score, search, quantize, fine-tune, export, verify, report.

    Example: sigmaquant run config.toml --flash 96KiB

    Example: sigmaquant run --model nets.py:resnet8 --weights w.safetensors
    --calibration calibration.npz --evaluation test.npz --device cortex-m4 --flash 64KiB
    --max-drop 1.0 --out runs/resnet8
    """
    flags: dict[str, dict[str, Any]] = {
        "model": {
            "factory": model,
            "weights": _text(weights),
            "dequantize": dequantize,
            "float_layers": float_layer,
        },
        "data": {
            "calibration": calibration,
            "training": training,
            "evaluation": evaluation,
            "deployment": deployment,
            "batch_size": batch_size,
            "calibration_samples": calibration_samples,
        },
        "target": {
            "device": device,
            "runtime": runtime,
            "flash": flash,
            "ram": ram,
            "latency": latency,
            "energy": energy,
        },
        "search": {
            "strategy": strategy,
            "metric": metric,
            "rounding": rounding,
            "activation_bits": activation_bits,
        },
        "quantize": {"reconstruct": reconstruct},
        "finetune": {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "data": "calibration" if train_on_calibration else None,
            "mirrored": mirrored,
            "feature_weight": feature_weight,
            "damping": damping,
            "precision": precision,
            "memory": memory,
            "revise": revise,
        },
        "export": {"format": file_format, "coded": coded},
        "gates": {"max_drop": max_drop},
        "run": {"out": _text(out), "seed": seed},
    }
    _run(config, flags, json)


def _run(path: Path | None, flags: dict[str, dict[str, Any]], json: bool) -> None:
    from sigmaquant.config import RunConfig
    from sigmaquant.launch import launched_ranks
    from sigmaquant.pipeline import check_gates, run_config
    from sigmaquant.report import print_report

    config = (RunConfig.load(path) if path else RunConfig()).overridden(flags).completed()
    result = run_config(config, shlex.join(["sigmaquant", *sys.argv[1:]]))
    if launched_ranks().index > 0:
        pass  # the main process prints for all
    elif json:
        print_line(result.report.model_dump_json(indent=1))
    else:
        print_report(result.report, console())
        print_line(f"report: {config.run.out}/report.html")
    check_gates(result.report, config)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
