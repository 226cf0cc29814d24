"""Small Keras models made on the spot, on the backend that needs no TensorFlow."""

from __future__ import annotations

import os
import warnings
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras
    from keras import layers, ops

__all__ = ["keras", "layers", "ops"]

Array = Any


def sequential(*parts: Any, shape: tuple[int | None, ...], name: str = "net") -> Any:
    """A sequential model with random weights."""
    return randomised(keras.Sequential([keras.Input(shape), *parts], name=name))


def randomised(model: Any) -> Any:
    """The model itself, with weights that leave nothing trivial: norms, biases."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            values = random.normal(0, 0.3, variable.shape)
            positive = "variance" in variable.path or "gamma" in variable.path
            variable.assign(np.abs(values) + 0.5 if positive else values)
    return model


def samples(model: Any, count: int = 3, seed: int = 0) -> list[Array]:
    """Random inputs; sizes that are open become 12."""
    random = np.random.default_rng(seed)
    return [
        random.random((count, *(size or 12 for size in tensor.shape[1:]))).astype(np.float32)
        for tensor in model.inputs
    ]


def predictions(model: Any, inputs: list[Array]) -> list[Array]:
    """What Keras computes."""
    found = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    return list(found) if isinstance(found, list | tuple) else [found]


def inverted_residual(x: Any, channels: int, stride: int, name: str) -> Any:
    """A block of MobileNetV2 as ``keras.applications`` writes it (Sandler et al. 2018)."""
    shortcut = x
    x = layers.Conv2D(2 * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
    x = layers.BatchNormalization(name=f"{name}_expand_BN")(x)
    x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
    if stride == 2:
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        stride,
        padding="valid" if stride == 2 else "same",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_depthwise_BN")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
    x = layers.BatchNormalization(name=f"{name}_project_BN")(x)
    if stride == 1 and shortcut.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


MOBILENET_LAYERS = (
    "Conv1",
    "block_1_expand",
    "block_1_depthwise",
    "block_1_project",
    "block_2_expand",
    "block_2_depthwise",
    "block_2_project",
    "predictions",
)
"""Names of the layers of ``mobilenet`` that have weights to quantize."""


def mobilenet(shape: tuple[int, int, int] = (8, 8, 3), classes: int = 10) -> Any:
    """MobileNetV2 in small: images with the channels last, softmax at the end."""
    image = keras.Input(shape, name="image")
    x = layers.Rescaling(2.0, offset=-1.0)(image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="Conv1")(x)
    x = layers.BatchNormalization(name="bn_Conv1")(x)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    x = inverted_residual(x, 8, 1, "block_1")
    x = inverted_residual(x, 12, 2, "block_2")
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return randomised(keras.Model(image, x, name="mobilenet"))
