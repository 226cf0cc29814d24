"""An object detector from an ONNX file: what the importer makes of it, beside ONNX Runtime.

``python -m benchmarks.yolox``: YOLOX-Nano on MLPerf Mobile's 300 images, in float: the average
precision of the file in ONNX Runtime, and of the imported network in PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import assets
from benchmarks.assets import Float32Array
from benchmarks.detection import average_precision, detected, prepared
from benchmarks.recording import Recorder
from benchmarks.results import RESULTS_FOLDER, BenchResult, BenchRow
from sigmaquant.errors import SigmaQuantError
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.network.onnx import load_onnx

FILE = "yolox_nano_coco_416"
SIZE = 416
_NETWORK = "YOLOX-Nano"

Run = Callable[[Float32Array], Float32Array]


def main() -> int:
    """Measure every variant; rows are on disk as they come."""
    argparse.ArgumentParser(prog="python -m benchmarks.yolox", description=__doc__).parse_args()
    try:
        _measure()
    except SigmaQuantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure() -> None:
    torch.set_num_threads(1)
    path = assets.assets_folder() / "weights" / f"{FILE}.onnx"
    runtime, module = OnnxRuntimeNetwork(path, threads=1), load_onnx(path)
    runs: dict[str, Run] = {
        "file in ONNX Runtime": lambda x: runtime(x)[0],
        "imported": lambda x: module(torch.from_numpy(x)).numpy(),
    }
    begun = BenchResult.begin("yolox", "make bench BENCH=yolox", 0, ("pycocotools",))
    recorder = Recorder(begun, RESULTS_FOLDER)
    images = assets.coco_tiny300()
    inputs = prepared(images.images, SIZE)
    expected: Float32Array | None = None
    reference: float | None = None
    for variant, run in runs.items():
        with torch.no_grad():
            outputs = np.concatenate([run(x[None]) for x in inputs])
        found = [detected(output, SIZE) for output in outputs]
        precision = 100 * average_precision(images.annotations, images.numbers, found, SIZE)
        expected = outputs if expected is None else expected
        row = BenchRow(
            network=_NETWORK,
            variant=variant,
            metric="ap_percent",
            value=precision,
            float_value=precision if reference is None else reference,
            seconds={},
            samples=len(images.numbers),
            largest_difference=float(np.abs(outputs - expected).max()),
            threads=1,
        )
        reference = row.float_value
        recorder.row(_NETWORK, variant, lambda row=row: row)


if __name__ == "__main__":
    sys.exit(main())
