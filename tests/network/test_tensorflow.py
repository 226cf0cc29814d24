"""SavedModels and TensorFlow Lite files; those that TensorFlow writes need it in a process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigmaquant.errors import MissingExtraError, ModelError, UnsupportedError
from sigmaquant.network.capture import captured
from sigmaquant.network.tensorflow import import_tensorflow
from tests.network.keras_models import MOBILENET_LAYERS
from tests.network.onnx_models import module_outputs

WRITER = """
import sys
import numpy as np
import tensorflow as tf
import torch
from sigmaquant.data.numpy_data import Ports, numpy_source
from tests.network.keras_models import mobilenet, predictions, samples

folder = sys.argv[1]
model = mobilenet()
inputs = samples(model)
model.export(f"{folder}/saved", verbose=False)
converter = tf.lite.TFLiteConverter.from_saved_model(f"{folder}/saved")
open(f"{folder}/net.tflite", "wb").write(converter.convert())
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([x[None]] for x in inputs[0])
open(f"{folder}/int8.tflite", "wb").write(converter.convert())
dataset = tf.data.Dataset.from_tensor_slices((inputs[0], [[1], [2], [3]])).batch(2)
source = numpy_source(dataset, Ports(("image",), (torch.float32,)), "calibration")
batches = [*source, *source]
np.savez(
    f"{folder}/run.npz",
    x=inputs[0],
    y=predictions(model, inputs)[0],
    sizes=[len(images) for (images,), _ in batches],
    labels=np.concatenate([labels for _, labels in batches]),
)
"""
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorFlow writes these files: pip install 'sigmaquant-edge[tensorflow]'",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel, two .tflite files, and what TensorFlow computes."""
    folder = tmp_path_factory.mktemp("written")
    command = [sys.executable, "-c", WRITER, str(folder)]
    backend = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **backend})
    return folder


def _difference(module: Any, written: Path) -> float:
    with np.load(written / "run.npz") as run:
        (found,) = module_outputs(module, [run["x"]])
        return float(np.abs(found - run["y"]).max())


@needs_tensorflow
def test_a_data_set_of_tensorflow_is_read_again_and_again(written: Path) -> None:
    with np.load(written / "run.npz") as run:
        assert run["sizes"].tolist() == [2, 1, 2, 1]
        assert run["labels"].tolist() == [1, 2, 3, 1, 2, 3]


@needs_tensorflow
def test_a_saved_model_computes_the_same_under_the_names_of_keras(written: Path) -> None:
    imported = import_tensorflow(written / "saved")
    assert _difference(imported.module, written) < 1e-5
    network = captured(imported)
    assert tuple(layer.name for layer in network.table.layers) == MOBILENET_LAYERS
    assert network.table.network == "saved"
    assert network.ports is not None
    assert network.ports.inputs == ("image",)


@needs_tensorflow
def test_a_float_tensorflow_lite_file(written: Path) -> None:
    imported = import_tensorflow(written / "net.tflite")
    assert _difference(imported.module, written) < 1e-5
    names = [layer.name for layer in captured(imported).table.layers]
    assert names == list(MOBILENET_LAYERS)


@needs_tensorflow
def test_a_quantized_file_is_refused_or_dequantized(written: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"int8\.tflite is quantized already"):
        import_tensorflow(written / "int8.tflite")
    module = import_tensorflow(written / "int8.tflite", dequantize=True).module
    assert _difference(module, written) < 0.1


@needs_tensorflow
def test_what_tf2onnx_cannot_convert(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"tf2onnx cannot convert .*net\.tflite: "):
        import_tensorflow(tmp_path / "net.tflite")


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file: .*net\.tflite"):
        import_tensorflow(tmp_path / "net.tflite")
    with pytest.raises(ModelError, match=r"is no SavedModel: it holds no saved_model\.pb"):
        import_tensorflow(tmp_path)


def test_without_tensorflow_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = r"with tensorflow and tf2onnx needs.*pip install 'sigmaquant-edge\[tensorflow\]'"
    with pytest.raises(MissingExtraError, match=message):
        import_tensorflow(tmp_path)
