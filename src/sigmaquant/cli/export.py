"""``sigmaquant export``: the file that a runtime runs, at its true size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line
from sigmaquant.units import format_bytes


def export(
    network: options.Network,
    quantized: Annotated[
        Path,
        typer.Argument(
            metavar="QUANTIZED.safetensors",
            help="Written by [b]sigmaquant quantize[/b] or [b]finetune[/b].",
        ),
    ],
    out: Annotated[Path, options.OUT] = Path("model.onnx"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write an ONNX file with packed weights and compare it with the integer reference.

    Example: sigmaquant export network.pt2 quantized.safetensors --out model.onnx
    """
    from sigmaquant.network import Network
    from sigmaquant.quantized import QuantizedNetwork
    from sigmaquant.stages import export as export_network

    loaded = QuantizedNetwork.load(quantized, Network.load(network))
    verification = export_network(loaded, out)
    if json:
        print_line(verification.model_dump_json(indent=1))
    else:
        print_line(f"{out}: {format_bytes(out.stat().st_size)}, verified in ONNX Runtime")
