"""TensorFlow Lite Micro: its weight tables and its interpreter; the one module that imports it."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, DataError, MissingExtraError
from sigmaquant.export.tflite.flatfile import port_names, read_metadata, with_shared_vectors
from sigmaquant.export.tflite.layout import Layout, plain
from sigmaquant.export.tflite.model import METADATA_LAYOUTS, Model
from sigmaquant.export.tflite.runtime import dequantized, quantized

try:
    from tflite_micro import compression, runtime
    from tflite_micro.tensorflow.lite.micro.compression.spec import (
        LookUpTableCompression,
        PerChannel,
        Tensor,
    )
except ImportError as error:
    raise MissingExtraError("TensorFlow Lite Micro export", "tflm") from error

VERSION = f"tflite-micro {version('tflite-micro')}"

_ARENA_BYTES = 64 * 2**20
"""Of this machine; what a network needs of it is measured."""
_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")

Array = npt.NDArray[Any]


def micro_content(model: Model) -> bytes:
    """The model's file with its value tables written out and DECODE operators before their layers.

    One table a channel: a table for a whole tensor of several scales is accepted and gives garbage.
    The runtime's own tool writes equal vectors anew for each tensor, a tenth of MobileNetV2's file.
    """
    content = model.content()
    specs = [
        Tensor(0, tensor, [LookUpTableCompression(table.bits, PerChannel(table.axis))])
        for tensor, table in model.tables.items()
    ]
    return with_shared_vectors(compression.compress(content, specs)) if specs else content


class MicroNetwork:
    """A network in TensorFlow Lite Micro's interpreter: float32 in and out, one sample at a time.

    Args:
        model: a file, or a file's content.

    Raises:
        ArtifactError: the runtime cannot load the model.
    """

    def __init__(self, model: str | Path | bytes) -> None:
        try:
            self._content = model if isinstance(model, bytes) else Path(model).read_bytes()
            names, self._layouts = port_names(self._content), _layouts(self._content)
        except (OSError, ValueError, struct.error) as error:
            raise ArtifactError(f"{model!r} is no TensorFlow Lite file: {error}") from error
        self._interpreter = self._loaded(runtime.InterpreterConfig.kPreserveAllTensors)
        details = self._interpreter.get_input_details, self._interpreter.get_output_details
        self._inputs, self._outputs = (
            {name: _port(detail(index)) for index, name in enumerate(ports)}
            for detail, ports in zip(details, names, strict=True)
        )
        self.inputs, self.outputs = tuple(self._inputs), tuple(self._outputs)
        self._watched: dict[int, list[Array]] = {}

    def _loaded(self, config: Any) -> Any:
        try:
            return runtime.Interpreter.from_bytes(
                self._content, arena_size=_ARENA_BYTES, intrepreter_config=config
            )
        except RuntimeError as error:
            raise ArtifactError(f"{VERSION} cannot load the model: {error}") from error

    def watch(self, tensors: Iterable[int]) -> None:
        """Keep what these tensors hold after each sample, for ``value``."""
        self._watched = {tensor: [] for tensor in tensors}

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """All outputs by name for a batch of inputs by name: (batch, *shape), float32.

        Raises:
            DataError: the runtime rejects the inputs: a name or a shape does not fit.
        """
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        self.watch(self._watched)
        try:
            samples = len(next(iter(arrays.values())))
            results = [self._run_one(arrays, sample) for sample in range(samples)]
        except (KeyError, RuntimeError, ValueError) as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise DataError(f"{VERSION} cannot run on inputs {shapes}: {error}") from error
        return {name: np.concatenate([one[name] for one in results]) for name in self.outputs}

    def _run_one(self, arrays: Mapping[str, Array], sample: int) -> dict[str, Array]:
        for index, (name, port) in enumerate(self._inputs.items()):
            array = arrays[name][sample : sample + 1]
            stored = self._layout(name, array.ndim).stored(array)
            given = np.ascontiguousarray(quantized(stored, port))
            self._interpreter.set_input(given, index)
        self._interpreter.invoke()
        for tensor, kept in self._watched.items():
            kept.append(self._interpreter.GetTensor(tensor, 0)["tensor_data"].copy())
        return {
            name: self._output(name, port, index)
            for index, (name, port) in enumerate(self._outputs.items())
        }

    def _output(self, name: str, port: Mapping[str, Any], index: int) -> Array:
        stored = self._interpreter.get_output(index).copy()
        restored: Array = self._layout(name, stored.ndim).restored(dequantized(stored, port))
        return restored

    def _layout(self, name: str, rank: int) -> Layout:
        """Of an input or output whose arrays, with batch, have so many dimensions."""
        return Layout(tuple(self._layouts[name])) if name in self._layouts else plain(rank - 1)

    def __call__(self, *inputs: npt.ArrayLike) -> tuple[Array, ...]:
        """All outputs in order for a batch of inputs in order."""
        return tuple(self.run(dict(zip(self.inputs, inputs, strict=True))).values())

    def value(self, tensor: int, layout: Layout) -> Array:
        """What a watched tensor held: (batch, *shape), of the file's type."""
        return layout.restored(np.concatenate(self._watched[tensor]))

    def arena_bytes(self) -> int | None:
        """The arena that the network takes on this machine, where pointers have eight bytes.

        The runtime only prints it, to the standard error stream of the process.
        """
        network = self._loaded(runtime.InterpreterConfig.kAllocationRecording)
        network.invoke()
        with tempfile.TemporaryFile() as printed:
            sys.stderr.flush()
            screen = os.dup(2)
            try:
                os.dup2(printed.fileno(), 2)
                network.print_allocations()
            finally:
                os.dup2(screen, 2)
                os.close(screen)
            printed.seek(0)
            total = _ARENA_TOTAL.search(printed.read().decode(errors="replace"))
        return None if total is None else int(total[1])


def _layouts(content: bytes) -> dict[str, list[int]]:
    layouts: dict[str, list[int]] = json.loads(read_metadata(content).get(METADATA_LAYOUTS, "{}"))
    return layouts


def _port(details: Mapping[str, Any]) -> dict[str, Any]:
    """Element type, scale and zero point of an input or output, as LiteRT describes them."""
    parameters = details["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    numbers = (float(scales[0]), int(zero_points[0])) if len(scales) else (0.0, 0)
    return {"dtype": details["dtype"], "quantization": numbers}
