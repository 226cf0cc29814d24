"""Keras models trained on the spot on scikit-learn's digits: read, quantized, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import sigmaquant as sq
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.keras import capture
from tests.network.keras_models import (
    MOBILENET_LAYERS,
    keras,
    layers,
    mobilenet,
    predictions,
)
from tests.network.onnx_models import assert_same

pytest.importorskip("sklearn", reason="the models are trained on scikit-learn's digits")

TRAINED_ON = 1297

Data = tuple[Any, Any]


@pytest.fixture(scope="module")
def digits() -> Data:
    """Images (n, 8, 8, 1) between 0 and 1 in random order, and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1), labels[order]


def _fit(model: Any, digits: Data, epochs: int) -> Any:
    images, labels = digits
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(images[:TRAINED_ON], labels[:TRAINED_ON], batch_size=64, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def trained(digits: Data) -> Any:
    """MobileNetV2 in small, with batch norms that have seen data."""
    keras.utils.set_random_seed(0)
    fresh = keras.models.clone_model(mobilenet((8, 8, 1)))
    for layer in fresh.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # so that the averages settle within the few steps taken
    return _fit(fresh, digits, epochs=8)


def _accuracy(scores: Any, digits: Data) -> float:
    return float((scores.argmax(1) == digits[1][TRAINED_ON:]).mean())


def test_a_trained_mobilenet_is_captured_as_it_is(trained: Any, digits: Data) -> None:
    x = digits[0][TRAINED_ON:]
    network = capture(trained)
    assert_same([network(torch.from_numpy(x))[0].numpy()], predictions(trained, [x]))
    assert tuple(layer.name for layer in network.table.layers) == MOBILENET_LAYERS


def test_a_mixed_plan_keeps_its_accuracy_in_onnx(
    trained: Any, digits: Data, tmp_path: Path
) -> None:
    images = digits[0]
    network, x = capture(trained), images[TRAINED_ON:]
    calibration = [torch.from_numpy(images[start : start + 64]) for start in (0, 64, 128, 192)]
    widths = dict.fromkeys(MOBILENET_LAYERS, 6) | {"Conv1": 8, "block_2_project": 5}
    plan = sq.BitPlan.uniform(network.table, 8).with_weight_bits(widths)
    sq.export(sq.quantize(network, plan, calibration), tmp_path / "digits.onnx")
    onnx.checker.check_model(tmp_path / "digits.onnx", full_check=True)
    (found,) = OnnxRuntimeNetwork(tmp_path / "digits.onnx", threads=1)(x)
    (expected,) = predictions(trained, [x])
    assert _accuracy(expected, digits) > 0.85
    assert _accuracy(found, digits) > _accuracy(expected, digits) - 0.03


def test_a_trained_lstm_goes_the_whole_road_in_float(digits: Data, tmp_path: Path) -> None:
    """Rows of an image as steps in time; the layer behind the LSTM is quantized."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.LSTM(16, name="memory"),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )
    images, labels = digits[0].squeeze(-1), digits[1]
    _fit(model, (images, labels), epochs=2)
    x = images[TRAINED_ON:]
    network, expected = capture(model), predictions(model, [x])
    assert_same([network(torch.from_numpy(x))[0].numpy()], expected)
    assert _accuracy(expected[0], digits) > 0.5
    assert tuple(layer.name for layer in network.table.layers) == ("digit",)
    assert "memory.lstm (lstm.input)" in network.table.float_operators
    calibration = [torch.from_numpy(images[start : start + 64]) for start in (0, 64, 128, 192)]
    quantized = sq.quantize(network, sq.BitPlan.uniform(network.table, 8), calibration)
    sq.export(quantized, tmp_path / "memory.onnx", samples=calibration)
    onnx.checker.check_model(tmp_path / "memory.onnx", full_check=True)
    (found,) = OnnxRuntimeNetwork(tmp_path / "memory.onnx", threads=1)(x)
    assert _accuracy(found, digits) > _accuracy(expected[0], digits) - 0.03
