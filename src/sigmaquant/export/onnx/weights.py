"""Layers' weights as int8 tensors: plain at 8 bits, unpacked from bit planes below.

All layers of one width share one tensor of planes and one unpacking graph, so that a network of
many small layers pays for it once. ONNX Runtime folds it at load. Its memory for that is about
3b + 13 bytes a weight whether the planes are cut into chunks or not, because it keeps folded
tensors until the whole graph is done (measured with 1.32: 4.6 M weights at 4 bits, 0.12 s, 100 MB).
The sum over planes is a MatMulInteger: as a float MatMul it takes two to four times as long and
three times the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import INT8, GraphBuilder
from sigmaquant.export.onnx.planes import pack_planes
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import Weights

_PLAIN_BITS = 8


def write_weights(graph: GraphBuilder, weights: Iterable[Weights]) -> dict[str, str]:
    """The name of an int8 tensor for each layer.

    Raises:
        UnsupportedError: a layer's width is not one of 2 to 8 bits.
    """
    tensors: dict[str, str] = {}
    by_width: dict[int, list[Weights]] = {}
    for layer in weights:
        if layer.bits not in WIDTHS:
            raise UnsupportedError(f"{layer.layer}: weights of {layer.bits} bits; 2 to 8 work")
        by_width.setdefault(layer.bits, []).append(layer)
    for bits, layers in sorted(by_width.items()):
        if bits == _PLAIN_BITS:
            tensors |= {layer.layer: graph.constant(layer.values) for layer in layers}
        else:
            tensors |= _write_packed(graph, layers, bits)
    return tensors


def _write_packed(graph: GraphBuilder, layers: list[Weights], bits: int) -> dict[str, str]:
    values = np.concatenate([layer.values.reshape(-1) for layer in layers])
    vector = _unpacked(graph, values, bits)
    sizes = [layer.values.size for layer in layers]
    parts = graph.split(vector, sizes) if len(layers) > 1 else [vector]
    return {
        layer.layer: graph.add("Reshape", [part, graph.integers(*layer.values.shape)])
        for layer, part in zip(layers, parts, strict=True)
    }


def _unpacked(
    graph: GraphBuilder, values: np.ndarray[tuple[int], np.dtype[np.int8]], bits: int
) -> str:
    """The vector that ``pack_planes`` packed, rebuilt by ONNX operators."""
    planes = graph.constant(pack_planes(values, bits)[:, :, None])
    # Left by 7 - j and right by 7 leaves bit j alone: (bits, bytes, 8) of zeros and ones.
    left = graph.constant(np.arange(7, -1, -1, dtype=np.uint8))
    shifted = graph.add("BitShift", [planes, left], direction="LEFT")
    bit = graph.add("BitShift", [shifted, graph.constant(np.uint8(7))], direction="RIGHT")
    flat = graph.add("Reshape", [bit, graph.integers(bits, -1)])
    powers = graph.constant((1 << np.arange(bits)).astype(np.uint8)[None])
    total = graph.add("MatMulInteger", [powers, flat])
    offset = graph.constant(np.int32(1 << (bits - 1)))
    signed = graph.add("Sub", [total, offset])
    integers = graph.add("Cast", [signed], to=INT8)
    vector = graph.add("Reshape", [integers, graph.integers(-1)])
    if math.ceil(values.size / 8) * 8 == values.size:
        return vector
    ends = [graph.integers(0), graph.integers(values.size), graph.integers(0)]
    return graph.add("Slice", [vector, *ends])
