"""Layers' scales and biases: each an initializer, or in 16 bits where that holds them exactly.

In 16 bits those of all layers are one vector, which operators convert and cut. ONNX Runtime does so
when it loads the file, so its kernels see the same float32 scales and int32 biases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sigmaquant.export.onnx.graph import FLOAT32, INT32, Array, GraphBuilder
from sigmaquant.lowering.program import Convolution, IntegerProgram, Linear

_HIGHEST_EXPONENT = 14  # of numbers in 16 bits, one below what they could have

_OPERATOR_BYTES = 300
"""What the operators take in a file that convert one vector, about."""


@dataclass(frozen=True)
class Parameters:
    """Tensors of scales and biases.

    Attributes:
        scales: by layer, (out,) float32.
        biases: by the operator's output, (out,) int32.
    """

    scales: Mapping[str, str]
    biases: Mapping[str, str]


def write_parameters(graph: GraphBuilder, program: IntegerProgram, *, coded: bool) -> Parameters:
    """Write the scales and biases of all layers.

    Args:
        graph: written to.
        program: what they are of.
        coded: whether those that 16 bits hold are written so.
    """
    scales, biases = _vectors(program, coded)
    return Parameters(scales.written(graph), biases.written(graph))


def stored_parameter_bytes(program: IntegerProgram, *, coded: bool) -> int:
    """What the file holds of the layers' scales and biases."""
    return sum(vectors.stored_bytes for vectors in _vectors(program, coded))


def _vectors(program: IntegerProgram, coded: bool) -> tuple[_Vectors, _Vectors]:
    """Scales by layer, and biases by the operator's output."""
    scales = {layer.layer: layer.scales for layer in program.weights}
    layers = [op for op in program.operators if isinstance(op, Convolution | Linear)]
    biases = {operator.output: operator.bias for operator in layers}
    return (
        _Vectors.of(scales, coded=coded, integers=False),
        _Vectors.of(biases, coded=coded, integers=True),
    )


@dataclass(frozen=True)
class _Vectors:
    """Vectors of one type.

    Attributes:
        whole: those that are initializers of their own.
        halves: those that are written in 16 bits, in units of 2^exponent.
        exponent: so that the largest of all numbers is among the largest that 16 bits hold.
        integers: whether they are int32, not float32.
    """

    whole: dict[str, Array]
    halves: dict[str, Array]
    exponent: int
    integers: bool

    @classmethod
    def of(cls, vectors: dict[str, Array], *, coded: bool, integers: bool) -> _Vectors:
        """Vectors as they will be written."""
        largest = max((float(np.abs(vector).max()) for vector in vectors.values()), default=0.0)
        exponent = math.frexp(largest)[1] - 1 - _HIGHEST_EXPONENT
        unit = 2.0**exponent
        halves = {
            name: (v.astype(np.float64) / unit).astype(np.float16) for name, v in vectors.items()
        }
        exact = {
            name
            for name, half in halves.items()
            if coded and np.array_equal(half.astype(np.float64) * unit, vectors[name])
        }
        if sum(halves[name].nbytes for name in exact) <= _OPERATOR_BYTES:
            exact = set()  # the operators would take as many bytes as they save
        return cls(
            {name: vector for name, vector in vectors.items() if name not in exact},
            {name: half for name, half in halves.items() if name in exact},
            exponent,
            integers,
        )

    @property
    def stored_bytes(self) -> int:
        """In the file, without the operators that convert them."""
        return sum(vector.nbytes for vector in (*self.whole.values(), *self.halves.values()))

    def written(self, graph: GraphBuilder) -> dict[str, str]:
        """The name of each vector's tensor."""
        tensors = {name: graph.constant(vector) for name, vector in self.whole.items()}
        if self.halves:
            tensors |= zip(self.halves, self._converted(graph), strict=True)
        return tensors

    def _converted(self, graph: GraphBuilder) -> list[str]:
        joined = graph.constant(np.concatenate(list(self.halves.values())))
        unit = graph.scalar(2.0**self.exponent)
        vector = graph.add("Mul", [graph.add("Cast", [joined], to=FLOAT32), unit])
        if self.integers:
            vector = graph.add("Cast", [vector], to=INT32)
        sizes = [half.size for half in self.halves.values()]
        return graph.split(vector, sizes) if len(sizes) > 1 else [vector]
