"""``sigmaquant export``: the file that a runtime runs, at its true size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sigmaquant.cli import options
from sigmaquant.cli.output import print_line
from sigmaquant.cli.reading import Config, calibration_batches
from sigmaquant.units import format_bytes

if TYPE_CHECKING:
    from sigmaquant.export.verification import Verification

_TFLITE = "TensorFlow Lite"


def export(
    network: options.Network,
    quantized: Annotated[
        Path,
        typer.Argument(
            metavar="QUANTIZED.safetensors",
            help="Written by [b]sigmaquant quantize[/b] or [b]finetune[/b].",
        ),
    ],
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="onnx, the default, tflite, tflm, c, qnn or qonnx.",
        ),
    ] = None,
    coded: Annotated[bool | None, options.CODED] = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    config: Config = None,
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="small: the fewest bits a kernel reads; fast: where it is about as fast as int8.",
            rich_help_panel=_TFLITE,
        ),
    ] = None,
    interface: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="Of inputs and outputs: float32, int8 or uint8.",
            rich_help_panel=_TFLITE,
        ),
    ] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option("--channels-last", help="Images in and out as NHWC.", rich_help_panel=_TFLITE),
    ] = None,
    out: Annotated[Path | None, options.OUT] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write a file (for C, a folder) with packed weights and compare it with the integer reference.

    Example: sigmaquant export network.pt2 quantized.safetensors --out model.onnx

    Example: sigmaquant export network.pt2 quantized.safetensors --format tflite
    --calibration calibration.npz
    """
    tflite = {"variant": variant, "interface": interface, "channels_last": channels_last}
    flags: dict[str, dict[str, Any]] = {
        "data": {"calibration": calibration},
        "export": {"format": file_format, "coded": coded, "tflite": _given(tflite)},
    }
    _export(network, quantized, config, flags, out, json)


def _given(values: dict[str, Any]) -> dict[str, Any] | None:
    given = {key: value for key, value in values.items() if value is not None}
    return given or None


def _export(
    network: Path,
    quantized: Path,
    config: Path | None,
    flags: dict[str, dict[str, Any]],
    out: Path | None,
    json: bool,
) -> None:
    from sigmaquant.config import RunConfig
    from sigmaquant.export.formats import format_named
    from sigmaquant.network import Network
    from sigmaquant.quantized import QuantizedNetwork
    from sigmaquant.stages import export as export_network

    settings = (RunConfig.load(config) if config else RunConfig()).overridden(flags)
    loaded = QuantizedNetwork.load(quantized, Network.load(network))
    named = settings.data.calibration is not None
    samples = calibration_batches(loaded.network, settings.data) if named else None
    path = out or Path(settings.export.file_name)
    verification = export_network(
        loaded,
        path,
        format=settings.export.format,
        samples=samples,
        options=settings.export.options,
    )
    if json:
        print_line(verification.model_dump_json(indent=1))
    else:
        runtime = format_named(settings.export.format).runtime
        print_line(f"{path}: {_described(verification, runtime)}")
        if format_named(settings.export.format).registers_kernels:
            print_line(f"kernels to register: {', '.join(verification.kernels)}")


def _described(verification: Verification, runtime: str) -> str:
    """Sizes and what is proven, such as "12 KiB, verified in ONNX Runtime"."""
    sizes = format_bytes(verification.file_bytes)
    if verification.ram_bytes is not None:
        sizes += f", {format_bytes(verification.ram_bytes)} of RAM"
    if not verification.verified:
        return f"{sizes}, exported, not verified: {verification.runtime}"
    return f"{sizes}, verified in {runtime}"
