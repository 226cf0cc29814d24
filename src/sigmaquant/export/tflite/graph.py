"""Collects tensors and operators of a TensorFlow Lite file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sigmaquant.export.tflite.flatfile import (
    FLOAT32,
    INT2,
    INT4,
    INT8,
    INT32,
    Array,
    Contents,
    Operator,
    Quantization,
    Tensor,
)
from sigmaquant.export.tflite.packing import pack_integers

_WEIGHTS_OF_BITS = {8: INT8, 4: INT4, 2: INT2}


class GraphBuilder:
    """Tensors by number, and operators in order of execution."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._constants: dict[Tensor, int] = {}

    def tensor(
        self, name: str, shape: Sequence[int], kind: int, quantization: Quantization | None = None
    ) -> int:
        """The number of a new tensor; ``shape`` includes the batch dimension."""
        return self._append(Tensor(name, tuple(shape), kind, quantization))

    def constant(self, array: Array, quantization: Quantization | None = None) -> int:
        """The number of a tensor with this content; equal ones are stored once."""
        kind = {"f": FLOAT32, "i": INT8 if array.itemsize == 1 else INT32}[array.dtype.kind]
        return self._constant(array, kind, np.ascontiguousarray(array).tobytes(), quantization)

    def weights(self, array: Array, bits: int, quantization: Quantization) -> int:
        """As ``constant``, for int8 values stored with 8, 4 or 2 bits."""
        content = pack_integers(array, bits)
        return self._constant(array, _WEIGHTS_OF_BITS[bits], content, quantization)

    def integers(self, numbers: Any) -> int:
        """A constant of int32: shapes, axes, pads."""
        return self.constant(np.asarray(numbers, np.int32))

    def _constant(
        self, array: Array, kind: int, content: bytes, quantization: Quantization | None
    ) -> int:
        tensor = Tensor("", array.shape, kind, quantization, content)
        if tensor not in self._constants:
            self._constants[tensor] = self._append(tensor)
        return self._constants[tensor]

    def _append(self, tensor: Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def record(self, tensor: int) -> Tensor:
        """What is known of a tensor."""
        return self._tensors[tensor]

    @property
    def size(self) -> int:
        """Number of operators."""
        return len(self._operators)

    def result_of(self, operator: int) -> Tensor:
        """What the operator of that number writes."""
        return self._tensors[self._operators[operator].output]

    def rename(self, tensor: int, name: str) -> None:
        """Give a tensor the name that users know it by."""
        self._tensors[tensor] = replace(self._tensors[tensor], name=name)

    def add(self, kind: str, inputs: Sequence[int], output: int, **options: Any) -> int:
        """Append an operator and return its output.

        Args:
            kind: name in the schema, such as ``CONV_2D``.
            inputs: tensors.
            output: tensor.
            options: fields of the operator's options table.
        """
        version = kernel_version(kind, [self._tensors[tensor] for tensor in inputs])
        table = _OPTIONS.get(kind)
        packed = None if table is None else (table, options)
        self._operators.append(Operator(kind, version, tuple(inputs), output, packed))
        return output

    def contents(
        self,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        *,
        description: str,
        metadata: Mapping[str, str],
        exposed: Iterable[int] = (),
    ) -> Contents:
        """All that goes into the file; of ``exposed``, what is no output yet becomes one."""
        named = set(outputs.values())
        further = [tensor for tensor in dict.fromkeys(exposed) if tensor not in named]
        return Contents(
            self._tensors, self._operators, inputs, outputs, further, description, metadata
        )


_OPTIONS: dict[str, str] = {
    "ADD": "AddOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUM": "ReducerOptions",
}
"""The schema's table of options; operators without one have none to set."""

_INT8_VERSIONS: dict[str, int] = {
    "ADD": 2,
    "BATCH_MATMUL": 2,
    "CAST": 3,
    "CONCATENATION": 2,
    "DEQUANTIZE": 2,
    "GATHER": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "PAD": 2,
    "PADV2": 2,
    "STRIDED_SLICE": 2,
    "TRANSPOSE": 2,
}
_FIVE_DIMENSIONS_VERSIONS = {"PAD": 4, "PADV2": 4, "STRIDED_SLICE": 4, "TRANSPOSE": 4}
_FLOAT_VERSIONS = {"FULLY_CONNECTED": 5, "RESIZE_BILINEAR": 3}
_FULLY_CONNECTED_VERSIONS = {INT8: 12, INT4: 12, INT2: 14}


def kernel_version(kind: str, inputs: Sequence[Tensor]) -> int:
    """The version of an operator: runtimes that do not know it refuse the file.

    As LiteRT's own ``tools/versioning/op_version.cc`` gives them, but for FULLY_CONNECTED: there
    int8 weights are version 4 or 5 and int4 ones 10, whether they have one scale or many. Runtimes
    from before 12 take the first scale for all channels, so 12 it is.
    """
    source = inputs[0]
    if source.kind == FLOAT32 and kind in _FLOAT_VERSIONS:
        return _FLOAT_VERSIONS[kind]
    if kind == "CONV_2D":
        if inputs[1].kind == INT4:
            return 7
        return 3 if inputs[1].shape[-1] == source.shape[-1] else 6
    if kind == "DEPTHWISE_CONV_2D":
        return 7 if inputs[1].kind == INT4 else 3
    if kind == "FULLY_CONNECTED":
        return _FULLY_CONNECTED_VERSIONS[inputs[1].kind]
    if len(source.shape) > 4 and kind in _FIVE_DIMENSIONS_VERSIONS:
        return _FIVE_DIMENSIONS_VERSIONS[kind]
    return _INT8_VERSIONS.get(kind, 1) if source.kind == INT8 else 1
