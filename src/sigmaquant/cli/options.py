"""Options that several commands share, each defined once.

Types that never change carry their option with them (``Json``); where one command needs a value
that another can do without, the option stands alone: ``Annotated[str | None, options.MODEL]``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli.boundary import show_tracebacks
from sigmaquant.cli.output import quieten

_DATA = "Model and data"
_TARGET = "Device and budgets"
_OUTPUT = "Output"

MODEL = typer.Option(
    "--model",
    metavar="NAME",
    help="What builds the model, [b]package.module:name[/b] or [b]file.py:name[/b]; or an "
    "[b].onnx[/b], [b].keras[/b], [b].h5[/b], float [b].tflite[/b] or [b].pt2[/b] file, or the "
    "folder of a SavedModel.",
    rich_help_panel=_DATA,
    show_default=False,
)
WEIGHTS = typer.Option(
    "--weights",
    metavar="FILE",
    help="Safetensors file with the model's state dict.",
    rich_help_panel=_DATA,
)
DEQUANTIZE = typer.Option(
    "--dequantize",
    help="Take an .onnx or .tflite file that is quantized already, without its rounding.",
    rich_help_panel=_DATA,
    show_default=False,
)
FLOAT_LAYERS = typer.Option(
    "--float-layer",
    metavar="NAME",
    help="A layer to leave in float, as it is; may be given again.",
    rich_help_panel=_DATA,
    show_default=False,
)
CALIBRATION = typer.Option(
    "--calibration",
    metavar="DATA",
    help="Inputs like those in use; labels are not needed. A .npz file, a folder of images with "
    "class subfolders, or package.module:function that returns a DataLoader.",
    rich_help_panel=_DATA,
    show_default=False,
)
TRAINING = typer.Option(
    "--training",
    metavar="DATA",
    help="What to fine-tune on; as --calibration.",
    rich_help_panel=_DATA,
    show_default=False,
)
ON_CALIBRATION = typer.Option(
    "--train-on-calibration",
    help="Fine-tune on the calibration data that are not held back: no labels, images moved a "
    "little each time.",
    rich_help_panel=_DATA,
    show_default=False,
)
MIRRORED = typer.Option(
    "--mirrored",
    help="Calibration images mean the same in a mirror, and are trained on so too.",
    rich_help_panel=_DATA,
    show_default=False,
)
MIRRORED_TOO = typer.Option(
    "--mirrored",
    help="Calibration images mean the same in a mirror: round with their mirror images too, in "
    "twice the time and memory.",
    rich_help_panel=_DATA,
    show_default=False,
)
RECONSTRUCT = typer.Option(
    "--reconstruct",
    metavar="STEPS",
    min=0,
    help="Of learning the rounding block by block on the calibration data, for each block; 0, the "
    "default, for none.",
)
PRECISION = typer.Option(
    "--precision",
    help="Of fine-tuning: float32, the default; bfloat16; or auto, bfloat16 where the processor "
    "multiplies it.",
)
MEMORY = typer.Option(
    "--memory",
    metavar="SIZE",
    help="That a step of fine-tuning may take, such as 2GiB.",
)
FEATURE_WEIGHT = typer.Option(
    "--feature-weight",
    metavar="WEIGHT",
    min=0,
    help="Of the intermediate values' distance from the float network's in fine-tuning; for deep "
    "networks and detectors.",
)
DAMPING = typer.Option(
    "--damping",
    metavar="PART",
    min=0,
    max=1,
    help="Of the way to the middle of its level that each weight is moved after a step of "
    "fine-tuning, at its end; against weights that oscillate between two levels.",
)
REVISE = typer.Option(
    "--revise",
    help="After fine-tuning, measure the plans next to this one on the trained network, and "
    "fine-tune it again under one that gains; the better of the two is kept.",
    show_default=False,
)
EVALUATION = typer.Option(
    "--evaluation",
    metavar="DATA",
    help="Labelled data that the accuracy is reported on; as --calibration.",
    rich_help_panel=_DATA,
    show_default=False,
)
DEPLOYMENT = typer.Option(
    "--deployment",
    metavar="DATA",
    help="Data as they occur in use, without labels, which the calibration data are compared "
    "with; as --calibration. By default the evaluation data.",
    rich_help_panel=_DATA,
    show_default=False,
)
BATCH_SIZE = typer.Option(
    "--batch-size", metavar="N", min=1, help="Samples in a batch.", rich_help_panel=_DATA
)
CALIBRATION_SAMPLES = typer.Option(
    "--calibration-samples",
    metavar="N",
    min=1,
    help="So many at most are read for calibration.",
    rich_help_panel=_DATA,
)
DEVICE = typer.Option(
    "--device",
    metavar="NAME",
    help="A device of [b]sigmaquant devices list[/b], or a TOML profile.",
    rich_help_panel=_TARGET,
    show_default=False,
)
ROUNDING_HELP = "Of the weights: compensated, nearest, or coded, for --coded files."
ROUNDING = typer.Option("--rounding", help=ROUNDING_HELP)
CODED = typer.Option(
    "--coded",
    help="ONNX: weights in a prefix code, a tenth smaller than their widths, a quarter where "
    "they were rounded for it.",
    show_default=False,
)
RUNTIME = typer.Option(
    "--runtime",
    metavar="NAME",
    help="What runs there: litert-small, litert-fast, tflm, onnxruntime, "
    "onnxruntime-coded, qnn, c, or a TOML file. "
    "Widths that it stores in no fewer bytes are not chosen.",
    rich_help_panel=_TARGET,
)
SEED = typer.Option(
    "--seed", metavar="N", min=0, help="Of every random draw.", rich_help_panel=_OUTPUT
)
OUT = typer.Option("--out", metavar="FILE", help="What to write.", rich_help_panel=_OUTPUT)

Flash = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Largest size, such as 96KiB.", rich_help_panel=_TARGET),
]
Ram = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Largest peak of RAM.", rich_help_panel=_TARGET),
]
Latency = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Such as 40ms.", rich_help_panel=_TARGET),
]
Energy = Annotated[
    str | None,
    typer.Option(metavar="ENERGY", help="Such as 3.2mJ.", rich_help_panel=_TARGET),
]
ActivationBits = Annotated[
    int | None,
    typer.Option(
        metavar="BITS",
        min=2,
        max=16,
        help="Width of all activations. By default chosen where the device runs several, else its "
        "own.",
        rich_help_panel=_TARGET,
    ),
]
Network = Annotated[
    Path,
    typer.Argument(metavar="NETWORK.pt2", help="Captured by [b]sigmaquant capture[/b]."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no logs on stderr.",
        callback=quieten,
        rich_help_panel=_OUTPUT,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=show_tracebacks,
        rich_help_panel=_OUTPUT,
    ),
]
