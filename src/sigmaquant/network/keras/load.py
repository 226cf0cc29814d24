"""The way from a Keras model, or a file of one, to a module."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sigmaquant.errors import MissingExtraError, ModelError, UnsupportedError
from sigmaquant.network.imported import Example, ImportedModel
from sigmaquant.network.keras.reading import input_names, read_keras
from sigmaquant.network.onnx import import_graph
from sigmaquant.network.onnx.reading import read_onnx
from sigmaquant.network.onnx.tensorflow_names import with_keras_names


def load_keras(path: str | Path) -> Any:
    """The ``keras.Model`` in a ``.keras`` or ``.h5`` file, without its optimizer.

    Where the user has not chosen a backend, Keras runs on torch, which is there in any case.

    Raises:
        MissingExtraError: Keras, or the backend that it is set to, is not installed.
        ModelError: the file is missing or damaged, or needs code that it does not hold.
    """
    if not Path(path).is_file():
        raise ModelError(f"no such file: {path}")
    keras = _keras()
    try:
        with _quietly():
            return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises of all kinds
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"{path} cannot be loaded by Keras {keras.__version__} on {keras.backend.backend()}: "
            f"{reason}. A model with code of its own is given as an object: "
            "sigmaquant.keras.optimize(model, ...)"
        ) from error


def import_keras(model: Any, example: Example | None = None, name: str = "") -> ImportedModel:
    """A trainable module from a Keras 3 model, its layers called as in Keras.

    A model with layers that are not known goes through Keras's own ONNX export, on whatever
    backend it runs; its layers are then called as that calls them.

    Args:
        model: functional, sequential, or any other that Keras exports.
        example: gives a batch of inputs, as the model takes them; asked only where the model
            leaves other sizes open than the batch.
        name: for messages; by default the model's own.

    Raises:
        MissingExtraError: Keras is not installed.
        ModelError: it is no Keras model, or its sizes are not known.
        UnsupportedError: a layer that is not known, in a model that Keras cannot export.
    """
    keras = _keras()
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"a {type(model).__module__}.{type(model).__name__} is no model of Keras 3; save a "
            "model of tf_keras as a SavedModel (model.export('folder')) and give the folder"
        )
    name = name or str(model.name)
    try:
        graph = read_keras(model, name)
    except (ModelError, UnsupportedError) as error:
        return _through_onnx(model, example, name, error)
    return import_graph(graph, example)


def _through_onnx(
    model: Any, example: Example | None, name: str, error: ModelError | UnsupportedError
) -> ImportedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{Path(name).stem}.onnx"
        try:
            with _quietly():
                _call_once(model)
                model.export(path, format="onnx", verbose=False)
        except Exception:  # of the backend's exporter, which needs packages of its own
            raise error from None
        graph = with_keras_names(read_onnx(path, name=name))
        named = None if example is None else lambda _: example(input_names(model))
        return import_graph(graph, named)


def _call_once(model: Any) -> None:
    """Run a model on zeros: Keras on torch exports none that has never been run."""
    inputs = [
        tensor for tensor in getattr(model, "inputs", None) or () if None not in tensor.shape[1:]
    ]
    if inputs and len(inputs) == len(model.inputs):
        zeros = [np.zeros((1, *x.shape[1:]), x.dtype) for x in inputs]
        model(zeros if len(zeros) > 1 else zeros[0])


def _keras() -> Any:
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError(f"Reading Keras models ({error})", "keras") from error
    return keras


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what exporters print and warn of from the user, who can do nothing about it.

    Compiled code prints too, past ``sys.stdout``.
    """
    with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            kept = {number: os.dup(number) for number in (1, 2)}
            for number in kept:
                os.dup2(nowhere.fileno(), number)
            try:
                yield
            finally:
                for number, before in kept.items():
                    os.dup2(before, number)
                    os.close(before)
