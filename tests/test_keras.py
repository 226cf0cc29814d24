"""From a Keras model to a file for a device, as a user of Keras goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sigmaquant as sq
from sigmaquant.errors import ModelError
from sigmaquant.export.tflite.runtime import LiteRtNetwork
from sigmaquant.keras import KerasResult, capture, optimize
from tests.network.keras_models import MOBILENET_LAYERS, keras, layers, mobilenet, sequential
from tests.network.onnx_models import floats, node, saved
from tests.network.onnx_models import model as onnx_model

BUDGET = sq.Budget(flash="12 KiB")


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    """Images of bytes, as cameras give them, and one-hot labels."""
    random = np.random.default_rng(0)
    images = random.integers(0, 2, (96, 8, 8, 3)).astype(np.uint8)
    return images, np.eye(10)[mobilenet().predict(images, verbose=0).argmax(1)]


@pytest.fixture(scope="module")
def result(data: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> KerasResult:
    return optimize(
        mobilenet(),
        data,
        device="cortex-m4",
        budget=BUDGET,
        out=tmp_path_factory.mktemp("run"),
        train=data[0],
        epochs=1,
    )


def test_plan_and_report_have_the_names_of_keras(result: KerasResult) -> None:
    assert tuple(result.plan.weight_bits) == MOBILENET_LAYERS
    assert result.report.quality_at("finetuned", "accuracy") is not None
    assert (result.files[0].parent / "report.html").is_file()


def test_the_file_takes_images_as_the_model_does(
    result: KerasResult, data: tuple[Any, Any]
) -> None:
    (file,) = result.files
    assert file.name == "model.tflite"
    images = data[0].astype(np.float32)
    (found,) = LiteRtNetwork(file).run({"image": images}).values()
    agreed = found.argmax(1) == mobilenet().predict(images, verbose=0).argmax(1)
    assert agreed.mean() > 0.9


def test_a_file_is_captured_like_its_model(tmp_path: Path) -> None:
    model = mobilenet()
    model.save(tmp_path / "net.keras")
    found, wanted = capture(tmp_path / "net.keras"), capture(model)
    assert found.table.layers == wanted.table.layers


def test_sizes_that_are_open_come_from_the_data() -> None:
    model = sequential(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), shape=(None, None, 3))
    images = np.zeros((4, 8, 9, 3), np.uint8)
    assert capture(model, images).input_shapes == ((8, 9, 3),)
    with pytest.raises(ModelError, match="give data of the size in use"):
        capture(model)


def test_a_file_with_several_inputs_of_open_sizes(tmp_path: Path) -> None:
    a, b = (keras.Input((None, 3), name=name) for name in "ab")
    pooled = [layers.GlobalAveragePooling1D()(each) for each in (a, b)]
    model = keras.Model([a, b], layers.Dense(2)(layers.Concatenate()(pooled)))
    model.save(tmp_path / "net.keras")
    short, long = np.zeros((4, 5, 3)), np.zeros((4, 7, 3))
    for data in [(short, long), [{"b": long, "a": short}]]:
        network = capture(tmp_path / "net.keras", data)
        assert network.input_shapes == ((5, 3), (7, 3))


def test_other_files_with_several_inputs_of_open_sizes(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", "a", "p", axes=[1], keepdims=0),
        node("ReduceMean", "b", "q", axes=[1], keepdims=0),
        node("Concat", "p q", "both", axis=1),
        node("Gemm", "both w"),
    ]
    inputs: dict[str, list[int | str | None]] = {"a": ["N", "A", 3], "b": ["N", "B", 3]}
    path = saved(onnx_model(nodes, inputs, {"w": floats(6, 2)}), tmp_path)
    short, long = np.zeros((4, 5, 3)), np.zeros((4, 7, 3))
    for data in [(short, long), [{"b": long, "a": short}]]:
        assert capture(path, data).input_shapes == ((5, 3), (7, 3))


def test_an_lstm_is_refused_by_name_where_the_runtime_has_none(tmp_path: Path) -> None:
    inputs = keras.Input((6, 3))
    memory = layers.LSTM(4, name="memory")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="out")(memory))
    x = np.random.default_rng(0).random((64, 6, 3)).astype(np.float32)
    with pytest.raises(sq.SigmaQuantError, match=r"memory\.lstm: TensorFlow Lite export has no"):
        optimize(model, x, device="cortex-m4", budget=sq.Budget(flash="64 KiB"), out=tmp_path)
