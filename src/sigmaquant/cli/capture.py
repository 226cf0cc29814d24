"""``sigmaquant capture``: a model becomes a network that all other stages work on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line, print_table
from sigmaquant.cli.reading import Config, data_settings
from sigmaquant.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from sigmaquant.config import DataConfig
    from sigmaquant.layers import LayerTable


def capture(
    model: Annotated[
        str,
        typer.Argument(
            help="package.module:name, file.py:name, an .onnx, .keras, .h5, .tflite or .pt2 file, "
            "or a SavedModel's folder."
        ),
    ],
    weights: Annotated[Path | None, options.WEIGHTS] = None,
    dequantize: Annotated[bool, options.DEQUANTIZE] = False,
    float_layer: Annotated[list[str] | None, options.FLOAT_LAYERS] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(metavar="CxHxW", help="Shape of one sample, such as 3x32x32."),
    ] = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    config: Config = None,
    out: Annotated[Path, options.OUT] = Path("network.pt2"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Capture a model with torch.export, fold its batch norms and list its layers.

    Example: sigmaquant capture nets.py:resnet8 --weights w.safetensors --input-shape 3x32x32
    """
    from sigmaquant.data import load_network

    data = data_settings(config, calibration=calibration)
    network = load_network(
        model,
        weights,
        lambda _: _example(input_shape, data),
        dequantize=dequantize,
        float_layers=float_layer or (),
    )
    network.save(out)
    if json:
        print_line(network.table.model_dump_json(indent=1))
    else:
        _print_layers(network.table)
        print_line(f"network: {out}")


def _example(input_shape: str | None, data: DataConfig) -> tuple[Tensor, ...]:
    """A batch of zeros of the shape, or the first batch of the calibration data."""
    import torch

    from sigmaquant.data import example_inputs

    if input_shape is not None:
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", input_shape):
            raise ConfigError(f"--input-shape: {input_shape!r} is no shape; write it like 3x32x32")
        return (torch.zeros(2, *map(int, input_shape.split("x"))),)
    if data.calibration is None:
        raise ConfigError("the model's inputs are not known: give --input-shape or --calibration")
    return example_inputs(data.open(data.calibration))


def _print_layers(table: LayerTable) -> None:
    rows = [
        (layer.name, layer.kind.value, f"{layer.weights:,}", f"{layer.macs:,}")
        for layer in table.layers
    ]
    print_table(("layer", "kind", "weights", "MACs"), rows, text_columns=2)
    print_line(f"{table.network}: {table.weights:,} weights, {table.macs:,} MACs")
    for operator in table.float_operators:
        print_line(f"stays float: {operator}")
