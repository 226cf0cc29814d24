"""Layers' weights as int8 tensors: plain at 8 bits, unpacked from bit planes below, or in code.

All layers of one width share one tensor of planes and one unpacking graph, so that a network of
many small layers pays for it once. ONNX Runtime folds it at load. Its memory for that is about
3b + 13 bytes a weight whether the planes are cut into chunks or not, because it keeps folded
tensors until the whole graph is done (measured with 1.32: 4.6 M weights at 4 bits, 0.12 s, 100 MB).
The sum over planes is a MatMulInteger: as a float MatMul it takes two to four times as long and
three times the memory.

In code (``coding``) the words of one stage after the other are unpacked in the same way. NonZero
would find what a stage leaves open, but the runtime folds only what it knows the size of (1.32): so
running sums number the open words, ScatterElements collects them, and Gather fills in what became
of them. Measured with 1.32: 4.6 M weights in 4 bits of code load in 0.46 s and 440 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.coding import CodedWeights, Ranks, encoded
from sigmaquant.export.onnx.graph import INT8, INT32, GraphBuilder
from sigmaquant.export.onnx.planes import bit_planes, pack_planes
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import Int8Array, UInt8Array, Weights

_PLAIN_BITS = 8


def write_weights(
    graph: GraphBuilder, weights: Iterable[Weights], *, coded: bool = False
) -> dict[str, str]:
    """The name of an int8 tensor for each layer.

    Args:
        graph: written to.
        weights: of all layers.
        coded: whether they are written in code, each width for which that takes fewer bytes.

    Raises:
        UnsupportedError: a layer's width is not one of 2 to 8 bits.
    """
    tensors: dict[str, str] = {}
    for bits, layers in sorted(_by_width(weights).items()):
        code = _smaller_code(layers, bits) if coded else None
        if code is not None:
            tensors |= _parts(graph, _written_code(graph, code), layers)
        elif bits == _PLAIN_BITS:
            tensors |= {layer.layer: graph.constant(layer.values) for layer in layers}
        else:
            tensors |= _parts(graph, _unpacked(graph, _joined(layers), bits), layers)
    return tensors


def stored_weight_bytes(weights: Iterable[Weights], *, coded: bool) -> int:
    """What the file holds of the weights, without scales and biases and the unpacking graph."""
    total = 0
    for bits, layers in _by_width(weights).items():
        code = _smaller_code(layers, bits) if coded else None
        total += _packed_bytes(layers, bits) if code is None else code.stored_bytes
    return total


def _by_width(weights: Iterable[Weights]) -> dict[int, list[Weights]]:
    found: dict[int, list[Weights]] = {}
    for layer in weights:
        if layer.bits not in WIDTHS:
            raise UnsupportedError(f"{layer.layer}: weights of {layer.bits} bits; 2 to 8 work")
        found.setdefault(layer.bits, []).append(layer)
    return found


def _packed_bytes(layers: list[Weights], bits: int) -> int:
    size = sum(layer.values.size for layer in layers)
    return size if bits == _PLAIN_BITS else bits * math.ceil(size / 8)


def _smaller_code(layers: list[Weights], bits: int) -> CodedWeights | None:
    """The layers in code, if that takes less of a file than planes, or than plain integers."""
    code = encoded(_joined(layers), bits)
    return code if code.file_bytes < _packed_bytes(layers, bits) else None


def _joined(layers: list[Weights]) -> Int8Array:
    return np.concatenate([layer.values.reshape(-1) for layer in layers])


def _parts(graph: GraphBuilder, vector: str, layers: list[Weights]) -> dict[str, str]:
    """The layers' tensors out of the vector of all of them."""
    sizes = [layer.values.size for layer in layers]
    parts = graph.split(vector, sizes) if len(layers) > 1 else [vector]
    return {
        layer.layer: graph.add("Reshape", [part, graph.integers(*layer.values.shape)])
        for layer, part in zip(layers, parts, strict=True)
    }


def _written_code(graph: GraphBuilder, code: CodedWeights) -> str:
    """The vector of weights that was coded."""
    words = _written_words(graph, code, 0)
    ranks = _resolved(graph, code, 0, words)
    symbols = graph.add("Gather", [graph.constant(code.symbols), ranks], axis=0)
    vector = graph.add("Reshape", [symbols, graph.integers(-1)])
    return _cut(graph, vector, len(code.streams[0]) * code.symbols.shape[1], code.size)


def _resolved(graph: GraphBuilder, code: CodedWeights, number: int, words: str) -> str:
    """``coding.decoded``'s step of one stage, and of those behind it."""
    before = sum(stage.resolved for stage in code.stages[:number])
    ranks = graph.add("Add", [words, _int32(graph, before)]) if before else words
    if number + 1 == len(code.stages):
        return ranks
    resolved = _int32(graph, code.stages[number].resolved)
    is_open = graph.add("Not", [graph.add("Less", [words, resolved])])
    counted = graph.add("CumSum", [graph.add("Cast", [is_open], to=INT32), _int32(graph, 0)])
    turn = graph.add("Sub", [counted, _int32(graph, 1)])  # of the open words
    open_words = _collected(graph, words, is_open, turn, code.streams[number + 1].size)
    room = _int32(graph, 1 << code.stages[number + 1].bits)
    begun = graph.add("Mul", [graph.add("Sub", [open_words, resolved]), room])
    longer = graph.add("Add", [begun, _written_words(graph, code, number + 1)])
    rest = _resolved(graph, code, number + 1, longer)
    return graph.add("Where", [is_open, graph.add("Gather", [rest, turn], axis=0), ranks])


def _collected(graph: GraphBuilder, words: str, is_open: str, turn: str, count: int) -> str:
    """The open words, which are ``count``; all others go to a place behind them, which is cut."""
    places = graph.add("Where", [is_open, turn, _int32(graph, count)])
    room = graph.filled([count + 1], np.int32(0))
    return _cut(graph, graph.add("ScatterElements", [room, places, words]), count + 1, count)


def _written_words(graph: GraphBuilder, code: CodedWeights, number: int) -> str:
    """The bits of one stage as an int32 vector."""
    stream: Ranks = code.streams[number]
    planes = bit_planes(stream, code.stages[number].bits)
    vector = graph.add("Reshape", [_summed(graph, planes), graph.integers(-1)])
    return _cut(graph, vector, 8 * planes.shape[1], stream.size)


def _int32(graph: GraphBuilder, number: int) -> str:
    return graph.constant(np.int32(number))


def _unpacked(graph: GraphBuilder, values: Int8Array, bits: int) -> str:
    """The vector that ``pack_planes`` packed, rebuilt by ONNX operators."""
    planes = pack_planes(values, bits)
    signed = graph.add("Sub", [_summed(graph, planes), _int32(graph, 1 << (bits - 1))])
    integers = graph.add("Cast", [signed], to=INT8)
    vector = graph.add("Reshape", [integers, graph.integers(-1)])
    return _cut(graph, vector, 8 * planes.shape[1], values.size)


def _summed(graph: GraphBuilder, planes: UInt8Array) -> str:
    """(bits, bytes) planes as (1, 8 * bytes) int32 integers below 2^bits."""
    packed, bits = graph.constant(planes[:, :, None]), len(planes)
    # Left by 7 - j and right by 7 leaves bit j alone: (bits, bytes, 8) of zeros and ones.
    left = graph.constant(np.arange(7, -1, -1, dtype=np.uint8))
    shifted = graph.add("BitShift", [packed, left], direction="LEFT")
    bit = graph.add("BitShift", [shifted, graph.constant(np.uint8(7))], direction="RIGHT")
    flat = graph.add("Reshape", [bit, graph.integers(bits, -1)])
    powers = graph.constant((1 << np.arange(bits)).astype(np.uint8)[None])
    return graph.add("MatMulInteger", [powers, flat])


def _cut(graph: GraphBuilder, vector: str, length: int, size: int) -> str:
    """The first ``size`` of a vector's ``length`` elements."""
    if size == length:
        return vector
    ends = [graph.integers(0), graph.integers(size), graph.integers(0)]
    return graph.add("Slice", [vector, *ends])
