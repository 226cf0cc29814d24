"""The user's model from a name: code that builds it, and weights to fill it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from sigmaquant.data.references import import_object, is_reference
from sigmaquant.errors import ModelError, SigmaQuantError
from sigmaquant.network import Network, capture
from sigmaquant.network.capture import captured
from sigmaquant.network.imported import Example

_SHOWN = 8
"""Tensors listed in a message before "and n more"."""


def load_network(
    spec: str,
    weights: str | Path | None,
    example: Example,
    *,
    dequantize: bool = False,
    float_layers: Sequence[str] = (),
) -> Network:
    """The captured network behind a name.

    Args:
        spec: a ``.pt2``, ``.onnx``, ``.keras``, ``.h5`` or ``.tflite`` file, the folder of a
            SavedModel, or what ``build_model`` takes.
        weights: a safetensors file with the model's state dict.
        example: gives one batch of inputs, whose names it is told where the file has any; asked
            only where the model has to be captured and does not say itself what it takes.
        dequantize: take an ``.onnx`` or ``.tflite`` file that is quantized already.
        float_layers: names of layers to leave in float.

    Raises:
        ModelError: it cannot be built, loaded or captured, or has no layer of such a name.
        UnsupportedError: a file holds an operator or a layer that is not known.
        MissingExtraError: what reads the file is not installed.
    """
    read = _reader(spec, example, dequantize=dequantize)
    if read is None:
        return capture(build_model(spec, weights), example(()), float_layers=float_layers)
    if weights is not None:
        raise ModelError(f"{spec} holds its own weights; leave out {weights}")
    network = read()
    return network.with_float_layers(float_layers) if float_layers else network


def _reader(spec: str, example: Example, *, dequantize: bool) -> Callable[[], Network] | None:
    """What reads a file or folder; None for a reference to code. Imports only what it needs."""
    if spec.endswith(".pt2"):
        return lambda: Network.load(spec)
    if spec.endswith(".onnx"):
        return lambda: _from_onnx(spec, example, dequantize=dequantize)
    if spec.endswith((".keras", ".h5")):
        return lambda: _from_keras(spec, example)
    if spec.endswith(".tflite") or (Path(spec).is_dir() and not is_reference(spec)):
        return lambda: _from_tensorflow(spec, example, dequantize=dequantize)
    return None


def _from_onnx(path: str, example: Example, *, dequantize: bool) -> Network:
    from sigmaquant.network.onnx import import_onnx

    return captured(import_onnx(path, example, dequantize=dequantize))


def _from_keras(path: str, example: Example) -> Network:
    from sigmaquant.network.keras import import_keras, load_keras

    return captured(import_keras(load_keras(path), example, path))


def _from_tensorflow(path: str, example: Example, *, dequantize: bool) -> Network:
    from sigmaquant.network.tensorflow import import_tensorflow

    return captured(import_tensorflow(path, example, dequantize=dequantize))


def build_model(reference: str, weights: str | Path | None = None) -> nn.Module:
    """A model in eval mode.

    Args:
        reference: ``package.module:name`` or ``file.py:name`` of a function without arguments, or
            of an ``nn.Module`` subclass or instance.
        weights: a safetensors file with exactly the model's state dict.

    Raises:
        ModelError: the model cannot be built, or the weights do not fit.
    """
    model = _call_factory(reference)
    if weights is not None:
        _load_weights(model, Path(weights))
    return model.eval()


def _call_factory(reference: str) -> nn.Module:
    factory = import_object(reference, ModelError)
    if not callable(factory):
        raise ModelError(f"{reference} is a {type(factory).__name__}, not a function or nn.Module")
    try:
        model = factory if isinstance(factory, nn.Module) else factory()
    except SigmaQuantError:
        raise
    except Exception as error:
        raise ModelError(f"{reference}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{reference} gave a {type(model).__name__}; it has to be a torch.nn.Module or a "
            "function without arguments that returns one"
        )
    return model


def _load_weights(model: nn.Module, path: Path) -> None:
    """Fill the model; every tensor of the file has its place, and every place its tensor."""
    if not path.is_file():
        raise ModelError(f"no such file: {path}")
    try:
        state = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error
    problems = _mismatches(model.state_dict(), state)
    if problems:
        shown = "\n  ".join(problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ModelError(f"{path} does not fit the {type(model).__name__}:\n  {shown}{more}")
    model.load_state_dict(state, strict=False)


def _mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What is missing, left over or of another shape, one line each.

    A tensor that shares its memory with one that is there is not missing: safetensors writes
    tied weights once.
    """
    present = {expected[name].data_ptr() for name in expected.keys() & found.keys()}
    missing = [
        f"missing: {name} {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name not in found and (tensor.numel() == 0 or tensor.data_ptr() not in present)
    ]
    unexpected = [f"unexpected: {name}" for name in found if name not in expected]
    shapes = [
        f"{name}: the model has {tuple(expected[name].shape)}, the file {tuple(tensor.shape)}"
        for name, tensor in found.items()
        if name in expected and expected[name].shape != tensor.shape
    ]
    return shapes + missing + unexpected
