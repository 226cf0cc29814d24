"""Keras layers become torch modules that compute the same, under the same names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sigmaquant.errors import MissingExtraError, ModelError, UnsupportedError
from sigmaquant.network import capture
from sigmaquant.network.keras import import_keras, load_keras
from sigmaquant.network.keras.layers.table import LAYERS, OPERATIONS
from sigmaquant.network.keras.reading import read_keras
from tests.network.keras_models import (
    MOBILENET_LAYERS,
    keras,
    layers,
    mobilenet,
    ops,
    predictions,
    randomised,
    samples,
    sequential,
)
from tests.network.onnx_models import assert_same, module_outputs

IMAGE, STEPS = (9, 8, 3), (9, 3)
WINDOWS = [(padding, stride) for padding in ("same", "valid") for stride in (1, 2, 3)]
NOT_AVERAGED_AS_TENSORFLOW = [("same", 2), ("same", 3)]
"""Keras on torch counts zeros around the image; TensorFlow and JAX, like us, do not."""

Made = tuple[tuple[int, ...], Callable[[], list[Any]]]
CASES: dict[str, Made] = {
    **{
        f"{kind} {padding} {stride}": (
            IMAGE,
            lambda make=make, padding=padding, stride=stride: [
                make(strides=stride, padding=padding)
            ],
        )
        for kind, make in {
            "conv": lambda **how: layers.Conv2D(4, 3, activation="relu", **how),
            "depthwise": lambda **how: layers.DepthwiseConv2D(4, depth_multiplier=2, **how),
            "separable": lambda **how: layers.SeparableConv2D(4, 3, depth_multiplier=2, **how),
            "transposed": lambda **how: layers.Conv2DTranspose(4, (3, 2), **how),
            "maximum": lambda **how: layers.MaxPooling2D(3, **how),
            "average": lambda **how: layers.AveragePooling2D(3, **how),
        }.items()
        for padding, stride in WINDOWS
        if kind != "average" or (padding, stride) not in NOT_AVERAGED_AS_TENSORFLOW
    },
    "dilated": (IMAGE, lambda: [layers.Conv2D(4, 3, dilation_rate=2, padding="same")]),
    "grouped": (IMAGE, lambda: [layers.Conv2D(6, 3, groups=3)]),
    "causal": (STEPS, lambda: [layers.Conv1D(4, 3, dilation_rate=2, padding="causal")]),
    "one dimension": (
        STEPS,
        lambda: [
            layers.ZeroPadding1D((1, 2)),
            layers.Conv1D(4, 3, strides=2, padding="same"),
            layers.UpSampling1D(2),
            layers.DepthwiseConv1D(3),
            layers.Cropping1D((1, 0)),
            layers.SeparableConv1D(3, 3, padding="same"),
            layers.Conv1DTranspose(4, 3, strides=2, padding="same"),
            layers.MaxPooling1D(2),
            layers.AveragePooling1D(2),
            layers.GlobalAveragePooling1D(),
        ],
    ),
    "flattened": (IMAGE, lambda: [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)]),
    "shapes": (
        IMAGE,
        lambda: [
            layers.ZeroPadding2D(((1, 2), (0, 1))),
            layers.Cropping2D(((1, 0), (2, 1))),
            layers.UpSampling2D((2, 3)),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.Permute((2, 1, 3)),
            layers.Reshape((-1, 6)),
        ],
    ),
    "norms": (
        IMAGE,
        lambda: [
            layers.BatchNormalization(scale=False),
            layers.LayerNormalization(),
            layers.Dense(4, use_bias=False),
            layers.BatchNormalization(center=False),
            layers.LayerNormalization(center=False, scale=False),
        ],
    ),
    "a norm of features": ((5,), lambda: [layers.Dense(4), layers.BatchNormalization()]),
    "prepared inputs": (
        IMAGE,
        lambda: [
            layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 2.0]),
            layers.RandomFlip(),
            layers.Rescaling(2.0, offset=[1, 2, 3]),
            layers.GaussianNoise(1.0),
        ],
    ),
    **{
        f"activation {name}": (STEPS, lambda name=name: [layers.Activation(name)])
        for name in (
            *("elu", "gelu", "hard_sigmoid", "hard_swish", "leaky_relu", "linear", "log_softmax"),
            *("mish", "relu", "relu6", "sigmoid", "softmax", "softplus", "swish", "tanh"),
        )
    },
    "activation layers": (
        IMAGE,
        lambda: [
            layers.ReLU(negative_slope=0.1),
            layers.ReLU(max_value=2.0),
            layers.ReLU(),
            layers.LeakyReLU(0.3),
            layers.PReLU(shared_axes=[1, 2]),
            layers.PReLU(),
            layers.ELU(0.5),
            layers.Softmax(axis=1),
            layers.Dense(3, activation=layers.LeakyReLU(0.2)),
        ],
    ),
    "lstm": (
        STEPS,
        lambda: [
            layers.LSTM(4, return_sequences=True),
            layers.LSTM(3, go_backwards=True, use_bias=False),
        ],
    ),
    "gru": (STEPS, lambda: [layers.GRU(4, return_sequences=True), layers.GRU(3)]),
    "gru reset first": (STEPS, lambda: [layers.GRU(4, reset_after=False)]),
    "both directions": (
        STEPS,
        lambda: [
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.Bidirectional(layers.GRU(3)),
        ],
    ),
}


def _assert_imported(model: Any) -> None:
    inputs = samples(model)
    module = import_keras(model, lambda _: [torch.from_numpy(x) for x in inputs]).module
    assert_same(module_outputs(module, inputs), predictions(model, inputs))


@pytest.mark.parametrize("name", CASES)
def test_as_keras(name: str) -> None:
    shape, make = CASES[name]
    _assert_imported(sequential(*make(), shape=shape))


@pytest.mark.parametrize(("padding", "stride"), NOT_AVERAGED_AS_TENSORFLOW)
def test_zeros_around_an_image_do_not_count_in_means(padding: str, stride: int) -> None:
    model = sequential(layers.AveragePooling2D(3, stride, padding), shape=IMAGE)
    ones = np.ones((1, *IMAGE), np.float32)
    (found,) = module_outputs(import_keras(model).module, [ones])
    np.testing.assert_allclose(found, 1.0, rtol=1e-6)


def _merging() -> Any:
    a, b = keras.Input((6, 6, 3), name="first"), keras.Input((6, 6, 3), name="second")
    total = layers.Add()([a, b, a])
    mean = layers.Average()([total, b])
    high = layers.Maximum()([total, mean, b])
    low = layers.Minimum()([high, a])
    product = layers.Multiply()([low, b])
    rest = layers.Subtract()([product, a])
    joined = layers.Concatenate(axis=1)([layers.Concatenate()([rest, total]) for _ in range(2)])
    gate = layers.GlobalMaxPooling2D(keepdims=True)(joined)
    share = layers.GlobalAveragePooling2D(keepdims=True)(joined)
    scaled = (joined * 2.0 + gate) / share - 1.5
    outputs = [3.0 - scaled, layers.GlobalMaxPooling2D()(scaled), ops.relu6(scaled)]
    return keras.Model([a, b], outputs)


def _nested() -> Any:
    stem = keras.Sequential(
        [layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.ReLU()],
        name="stem",
    )
    inner = keras.Input((6, 6, 3))
    body = keras.Model(inner, layers.Conv2D(4, 1, name="point")(stem(inner)), name="body")
    a, b = keras.Input((6, 6, 3)), keras.Input((6, 6, 3))
    shared = layers.Dense(2, name="shared")
    return randomised(keras.Model([a, b], layers.Add()([shared(body(a)), shared(body(b))])))


def test_merges_and_operations_as_keras() -> None:
    _assert_imported(_merging())


def _of_two(operation: Callable[[Any, Any], Any], *shapes: tuple[int, ...]) -> Any:
    a, b = (keras.Input(shape) for shape in shapes)
    return keras.Model([a, b], operation(a, b))


OPERATION_CASES: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b + 1.0,
    "Concatenate": lambda a, b: ops.concatenate([a, b], axis=1),
    "Divide": ops.divide,
    "Maximum": ops.maximum,
    "Minimum": ops.minimum,
    "Multiply": lambda a, b: 2.0 * a * b,
    "Relu6": lambda a, b: ops.relu6(9.0 * a) + b,
    "Softmax": lambda a, b: ops.softmax(a, axis=1) + b,
    "Subtract": ops.subtract,
    "TrueDivide": lambda a, b: a / (b + 1.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_as_keras(name: str) -> None:
    _assert_imported(_of_two(OPERATION_CASES[name], (2, 3), (2, 3)))


@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b: ops.average(a, axis=1) + ops.average(b, axis=1),
        lambda a, b: ops.reshape(a, (-1, 3)) + b,
        lambda a, b: ops.concatenate([a, np.ones((3, 2, 3), np.float32), b], axis=1),
    ],
    ids=["average", "reshape", "constants"],
)
def test_operations_are_not_taken_for_layers(operation: Callable[[Any, Any], Any]) -> None:
    model = _of_two(operation, (2, 3), (2, 3))
    with pytest.raises(UnsupportedError, match=r"not known|joins constants"):
        read_keras(model, "net")


@pytest.mark.parametrize(
    "merge",
    [layers.Add(), layers.Average(), layers.Maximum(), layers.Multiply(), layers.Subtract()],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("shapes", [((4,), (3, 3, 4)), ((3, 3, 4), (3, 4))])
def test_merges_of_other_ranks_put_dimensions_behind_the_batch(merge: Any, shapes: Any) -> None:
    _assert_imported(_of_two(lambda a, b: type(merge)()([a, b]), *shapes))


def hard_sigmoid(x: Any) -> Any:
    """The user's own: of Keras's name, and another slope."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def sigmoid(x: Any) -> Any:
    """As ``hard_sigmoid``."""
    return hard_sigmoid(x)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(4, activation=hard_sigmoid),
        layers.Activation(ops.gelu),  # approximates, unlike keras.activations.gelu
        layers.LSTM(4, recurrent_activation=sigmoid),
    ],
    ids=["own function", "function of keras.ops", "own gate"],
)
def test_other_functions_of_known_names_are_not_taken(layer: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"not known|not Keras's"):
        read_keras(sequential(layer, shape=STEPS), "net")


def test_a_norm_that_does_not_centre_is_not_taken() -> None:
    with pytest.warns(UserWarning, match="deprecated"):
        layer = layers.LayerNormalization(rms_scaling=True)
    with pytest.raises(UnsupportedError, match=r"does not centre \(rms_scaling\)"):
        read_keras(sequential(layer, shape=STEPS), "net")


def test_an_own_function_goes_through_the_export_of_keras() -> None:
    _assert_imported(sequential(layers.Dense(4, activation=hard_sigmoid), shape=(5,)))


def test_settings_that_a_writer_fails_on_are_refused_by_layer() -> None:
    layer = layers.ReLU(name="odd")
    model = sequential(layer, shape=(4,))
    layer.negative_slope = "steep"
    with pytest.raises(UnsupportedError, match=r"'odd' \(ReLU\): it has settings that are not"):
        read_keras(model, "net")


def test_models_in_models_as_keras() -> None:
    model = _nested()
    _assert_imported(model)
    imported = import_keras(model)
    names = {name for name, _ in imported.module.named_parameters()}
    called_once = {"body.stem.conv", "body.stem.norm", "body.point"}
    tied = {"shared.weight", "shared_add.constant"}
    assert names == tied | {f"{name}.{part}" for name in called_once for part in ("weight", "bias")}


def test_sizes_that_are_open_come_from_an_example() -> None:
    model = sequential(layers.Conv2D(4, 3), shape=(None, None, 3))
    _assert_imported(model)
    with pytest.raises(ModelError, match="leaves sizes of its input"):
        import_keras(model)


def test_layers_are_called_as_in_keras() -> None:
    imported = import_keras(mobilenet())
    network = capture(imported.module, imported.example_inputs)
    assert network.table.network == "mobilenet"
    assert tuple(layer.name for layer in network.table.layers) == MOBILENET_LAYERS
    assert network.input_shapes == ((8, 8, 3),)
    assert [str(node.target) for node in network.runner().inputs] == ["image"]
    assert network.table.float_operators == ("predictions_softmax (softmax.int)",)


def test_an_lstm_stays_float_and_what_follows_is_a_layer() -> None:
    model = sequential(layers.LSTM(4, name="memory"), layers.Dense(3, name="out"), shape=(5, 3))
    imported = import_keras(model)
    table = capture(imported.module, imported.example_inputs).table
    assert [layer.name for layer in table.layers] == ["out"]
    assert "memory.lstm (lstm.input)" in table.float_operators


def test_the_model_is_not_trained_through_the_module() -> None:
    model = sequential(layers.Dense(3), shape=(4,))
    before = model.get_weights()[0].copy()
    module = import_keras(model).module
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(model.get_weights()[0], before)


@keras.saving.register_keras_serializable("tests")
class Own(layers.Layer):
    """Code of the user's own, which only the export of Keras can follow."""

    def call(self, x: Any) -> Any:
        return ops.sqrt(ops.abs(x)) + 1.0


class Spectrum(layers.Layer):
    """As ``Own``, but nothing can export it."""

    def call(self, x: Any) -> Any:
        return ops.fft((x, x))[0]


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model that does not say which layers it calls."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.dense = layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(x) * 2.0


def test_layers_that_are_not_known_go_through_the_export_of_keras() -> None:
    _assert_imported(sequential(layers.Dense(4), Own(), layers.Dense(3), shape=(5,)))


def test_a_model_of_code_goes_through_the_export_of_keras() -> None:
    model, x = Subclassed(), np.random.default_rng(0).random((3, 5)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    assert_same(module_outputs(import_keras(model).module, [x]), [expected])


def test_what_nothing_can_export_is_refused_by_layer() -> None:
    model = sequential(Spectrum(name="own"), layers.Dense(3), shape=(4,))
    with pytest.raises(UnsupportedError, match=r"net: layer 'own' \(Spectrum\): this layer is not"):
        import_keras(model)


def test_what_is_no_keras_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"a builtins\.list is no model of Keras 3; save"):
        import_keras([])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files(suffix: str, tmp_path: Path) -> None:
    model, path = mobilenet(), tmp_path / f"net{suffix}"
    model.save(path)
    inputs = samples(model)
    module = import_keras(load_keras(path), name=str(path)).module
    assert type(module).__name__ == "net"
    assert_same(module_outputs(module, inputs), predictions(model, inputs))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file: .*net\.keras"):
        load_keras(tmp_path / "net.keras")
    (tmp_path / "net.keras").write_bytes(b"not an archive")
    with pytest.raises(ModelError, match=r"net\.keras cannot be loaded by Keras 3.* on torch: "):
        load_keras(tmp_path / "net.keras")


def test_without_keras_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "net.keras").touch()
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sigmaquant-edge\[keras\]'"):
        load_keras(tmp_path / "net.keras")


def test_every_writer_is_tested() -> None:
    tested = {type(part).__name__ for _, make in CASES.values() for part in make()}
    merging = {"Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply"}
    others = {"Subtract", "GlobalMaxPooling2D", "GlobalAveragePooling2D"}
    by_rank = {"Conv3D", "MaxPooling3D", "AveragePooling3D"}
    by_rank |= {"GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling3D"}
    nothing = {"Dropout", "Identity", "ActivityRegularization", "AlphaDropout", "GaussianDropout"}
    nothing |= {name for name in LAYERS if name.startswith(("Random", "SpatialDropout"))}
    assert LAYERS.keys() - tested <= merging | others | by_rank | nothing
