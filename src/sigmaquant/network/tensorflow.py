"""SavedModels and TensorFlow Lite files, converted by tf2onnx in a process of its own.

TensorFlow prints, keeps its memory and does not mix with every version of what else is loaded; so
it never comes into ours.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sigmaquant.errors import MissingExtraError, ModelError
from sigmaquant.network.imported import Example, ImportedModel
from sigmaquant.network.onnx import import_graph
from sigmaquant.network.onnx.reading import read_onnx
from sigmaquant.network.onnx.tensorflow_names import with_keras_names

OPSET = 17
_NEEDED = ("tensorflow", "tf2onnx")


def import_tensorflow(
    path: str | Path,
    example: Example | None = None,
    *,
    dequantize: bool = False,
) -> ImportedModel:
    """A trainable module from a SavedModel's folder or a float ``.tflite`` file.

    Args:
        path: of the folder or file.
        example: gives a batch of inputs; asked only where the model leaves other sizes open than
            the batch.
        dequantize: take a ``.tflite`` file that is quantized as the float network that it is
            without rounding of activations.

    Raises:
        MissingExtraError: TensorFlow or tf2onnx is not installed.
        ModelError: nothing that can be converted is there, or its sizes are not known.
        UnsupportedError: it holds an operator that is not known, or is quantized already.
    """
    path = Path(path)
    flag = _flag(path)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"Reading {path} with {' and '.join(missing)}", "tensorflow")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{path.resolve().stem}.onnx"
        dequantized = ["--dequantize"] if dequantize and flag == "--tflite" else []
        _convert([flag, str(path), "--output", str(file), *dequantized], path)
        graph = read_onnx(file, name=path)
    return import_graph(with_keras_names(graph), example)


def _flag(path: Path) -> str:
    if path.suffix == ".tflite":
        if not path.is_file():
            raise ModelError(f"no such file: {path}")
        return "--tflite"
    if not (path / "saved_model.pb").is_file():
        raise ModelError(f"{path} is no SavedModel: it holds no saved_model.pb")
    return "--saved-model"


def _convert(arguments: Sequence[str], path: Path) -> None:
    command = [sys.executable, "-m", "tf2onnx.convert", *arguments, "--opset", str(OPSET)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        command,
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise ModelError(f"tf2onnx cannot convert {path}: {lines[-1]}")
