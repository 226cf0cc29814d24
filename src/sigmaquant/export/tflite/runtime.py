"""Runs an exported file in LiteRT; the one module that imports its interpreter."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, DataError, MissingExtraError
from sigmaquant.export.tflite.flatfile import SIGNATURE, Quantization, read_metadata
from sigmaquant.export.tflite.layout import Layout, plain
from sigmaquant.export.tflite.model import METADATA_LAYOUTS

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError as error:
    raise MissingExtraError("Running TensorFlow Lite files", "tflite") from error

VERSION = f"ai-edge-litert {version('ai-edge-litert')}"

Kernels = Literal["XNNPACK", "built-in"]
KERNELS: tuple[Kernels, ...] = ("XNNPACK", "built-in")
"""Both sets of kernels that LiteRT has for CPUs: XNNPACK's where it has one, or none of them."""

_RESOLVERS = {
    "XNNPACK": OpResolverType.AUTO,
    "built-in": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}

Array = npt.NDArray[Any]


class LiteRtNetwork:
    """A network in LiteRT on the CPU: float32 in, float32 out, in the network's own dimensions.

    Where the file's interface is integer or has channels last, arrays are converted on the way.

    Args:
        model: a file, or a file's content.
        kernels: which kernels run what both sets have.
        threads: threads inside an operator.

    Raises:
        ArtifactError: the runtime cannot load the model.
    """

    def __init__(
        self, model: str | Path | bytes, *, kernels: Kernels = "XNNPACK", threads: int = 1
    ) -> None:
        where = "the model" if isinstance(model, bytes) else str(model)
        try:
            content = model if isinstance(model, bytes) else Path(model).read_bytes()
            self._interpreter: Any = Interpreter(
                model_content=content,
                experimental_op_resolver_type=_RESOLVERS[kernels],
                num_threads=threads,
            )
            self._interpreter.allocate_tensors()
            metadata = read_metadata(content)
        except (OSError, RuntimeError, ValueError) as error:
            raise ArtifactError(f"LiteRT cannot load {where} ({kernels}): {error}") from error
        self._layouts = json.loads(metadata.get(METADATA_LAYOUTS, "{}"))
        self._inputs = {port["name"]: port for port in self._interpreter.get_input_details()}
        ports = self._interpreter.get_signature_list()[SIGNATURE]["outputs"]
        outputs = {port["name"]: port for port in self._interpreter.get_output_details()}
        self._outputs = {name: outputs[name] for name in ports}
        self._batch = 1
        self.inputs = tuple(self._inputs)
        self.outputs = tuple(self._outputs)

    @property
    def operators(self) -> dict[str, int]:
        """How often each operator occurs; DELEGATE stands for a part that XNNPACK runs."""
        names = (operator["op_name"] for operator in self._interpreter._get_ops_details())
        return dict(sorted(Counter(names).items()))

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """All outputs by name for a batch of inputs by name: (batch, *shape), float32.

        Raises:
            DataError: the runtime rejects the inputs: a name or a shape does not fit.
        """
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        try:
            self._resize(len(next(iter(arrays.values()))))
            for name, port in self._inputs.items():
                stored = self._layout(name, arrays[name].ndim).stored(arrays[name])
                self._interpreter.set_tensor(port["index"], quantized(stored, port))
            self._interpreter.invoke()
        except (KeyError, RuntimeError, ValueError) as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise DataError(f"LiteRT cannot run on inputs {shapes}: {error}") from error
        return {name: self._output(name, port) for name, port in self._outputs.items()}

    def __call__(self, *inputs: npt.ArrayLike) -> tuple[Array, ...]:
        """All outputs in order for a batch of inputs in order."""
        return tuple(self.run(dict(zip(self.inputs, inputs, strict=True))).values())

    def value(self, tensor: int, layout: Layout) -> Array:
        """What an input or output holds after ``run``: (batch, *shape), of the file's type.

        Tensors that are neither may hold anything.
        """
        return layout.restored(self._interpreter.get_tensor(tensor))

    def _resize(self, batch: int) -> None:
        if batch == self._batch:
            return
        for port in self._inputs.values():
            self._interpreter.resize_tensor_input(port["index"], [batch, *port["shape"][1:]])
        self._interpreter.allocate_tensors()
        self._batch = batch

    def _output(self, name: str, port: Mapping[str, Any]) -> Array:
        stored = self._interpreter.get_tensor(port["index"])
        return self._layout(name, stored.ndim).restored(dequantized(stored, port))

    def _layout(self, name: str, rank: int) -> Layout:
        """Of an input or output whose arrays, with batch, have so many dimensions."""
        return Layout(tuple(self._layouts[name])) if name in self._layouts else plain(rank - 1)


def quantized(array: Array, port: Mapping[str, Any]) -> Array:
    """Real numbers in the element type of an input."""
    dtype = port["dtype"]
    if dtype == np.float32:
        return array
    scale, zero_point = port["quantization"]
    limits = np.iinfo(dtype)
    rounded: Array = np.rint(array / np.float32(scale)) + zero_point
    return rounded.clip(limits.min, limits.max).astype(dtype)


def dequantized(array: Array, port: Mapping[str, Any]) -> Array:
    """What an output holds as real numbers."""
    if array.dtype == np.float32:
        return array
    scale, zero_point = port["quantization"]
    return Quantization((scale,), zero_point).real(array)
