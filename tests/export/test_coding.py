"""Weights in a prefix code: in NumPy, in ONNX Runtime, and as whole files."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.export.onnx import coding
from sigmaquant.export.onnx import weights as packing
from sigmaquant.export.onnx.coding import best_stages, decoded, encoded
from sigmaquant.export.onnx.graph import INT8, GraphBuilder, Port, initializers, serialize
from sigmaquant.export.onnx.model import build_model
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.onnx.weights import stored_weight_bytes, write_weights
from sigmaquant.lowering.program import Weights
from sigmaquant.quantizers import level_bounds

WIDTHS = range(2, 9)


@pytest.fixture
def free_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if operators took no bytes, so that small networks are coded too."""
    monkeypatch.setattr(coding, "STAGE_BYTES", 0)
    monkeypatch.setattr(coding, "FIXED_BYTES", 0)


@pytest.fixture
def always_in_code(monkeypatch: pytest.MonkeyPatch, free_operators: None) -> None:
    """Also where it takes more bytes, as it does of random weights."""
    monkeypatch.setattr(packing, "_packed_bytes", lambda layers, bits: 2**40)


def normal_levels(bits: int, count: int, seed: int = 0) -> np.ndarray:
    """Weights as rounding leaves them: normal, in the step of the least squared error."""
    step = {2: 1.0, 3: 0.59, 4: 0.335, 5: 0.188, 6: 0.104, 7: 0.057, 8: 0.031}[bits]
    levels = np.random.default_rng(seed).normal(size=count) / step
    return np.clip(np.round(levels), *level_bounds(bits)).astype(np.int8)


def entropy_bytes(values: np.ndarray) -> float:
    _, counts = np.unique(values, return_counts=True)
    return -float((counts * np.log2(counts / counts.sum())).sum()) / 8


def huffman_bits(counts: list[int]) -> int:
    total = 0
    heap = list(counts)
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


@st.composite
def levels(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    bits = draw(st.sampled_from(WIDTHS))
    values = draw(st.lists(st.integers(*level_bounds(bits)), min_size=1, max_size=80))
    return np.array(values, np.int8), bits


@given(case=levels())
def test_what_is_decoded_is_what_was_encoded(case: tuple[np.ndarray, int]) -> None:
    values, bits = case
    code = encoded(values, bits)
    assert np.array_equal(decoded(code), values)
    for stage, stream in zip(code.stages, code.streams, strict=True):
        assert not stream.size or (stream.min() >= 0 and stream.max() < 1 << stage.bits)
    assert sum(stage.resolved for stage in code.stages) == len(code.symbols)


@given(counts=st.lists(st.integers(1, 10_000), min_size=2, max_size=24))
def test_no_stages_take_fewer_bits_than_huffmans_code(counts: list[int]) -> None:
    counts = sorted(counts, reverse=True)
    bits, first = 0, 0
    for stage in best_stages(counts):
        bits += stage.bits * sum(counts[first:])
        first += stage.resolved
    assert first == len(counts)
    assert bits >= huffman_bits(counts)


@pytest.mark.parametrize("bits", WIDTHS)
def test_many_weights_take_hardly_more_than_their_entropy(bits: int) -> None:
    values = normal_levels(bits, 200_000)
    stored = encoded(values, bits).stored_bytes
    assert entropy_bytes(values) < stored < 1.03 * entropy_bytes(values)
    assert stored < 0.97 * values.size * bits / 8


def in_runtime(weights: list[Weights]) -> list[np.ndarray]:
    """The layers' weights as the runtime unpacks them from a file of nothing else."""
    graph = GraphBuilder([])
    tensors = write_weights(graph, weights, coded=True)
    names = [graph.add("Identity", [tensors[layer.layer]]) for layer in weights]
    model = graph.model("weights", [], [Port(name, (1,), INT8) for name in names], {})
    return list(OnnxRuntimeNetwork(serialize(model)).run({}).values())


def layer_of(name: str, bits: int, shape: tuple[int, ...], seed: int = 0) -> Weights:
    values = normal_levels(bits, int(np.prod(shape)), seed).reshape(shape)
    return Weights(name, bits, values, np.ones(shape[0], np.float32))


@pytest.mark.usefixtures("free_operators")
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("shape", [(7, 3), (5, 1, 3, 3), (16, 8, 5, 5)])
def test_the_runtime_unpacks_every_layer(bits: int, shape: tuple[int, ...]) -> None:
    weights = [layer_of("a", bits, shape), layer_of("b", bits, (11, 13), seed=1)]
    for layer, found in zip(weights, in_runtime(weights), strict=True):
        assert found.dtype == np.int8
        assert np.array_equal(found, layer.values)


@pytest.mark.usefixtures("free_operators")
def test_weights_of_one_value_and_of_rare_outliers_are_unpacked() -> None:
    spiky = np.zeros((64, 64), np.int8)
    spiky[0, :2] = -127, 127
    weights = [
        Weights("zero", 4, np.zeros((3, 5), np.int8), np.ones(3, np.float32)),
        Weights("spiky", 8, spiky, np.ones(64, np.float32)),
    ]
    for layer, found in zip(weights, in_runtime(weights), strict=True):
        assert np.array_equal(found, layer.values)


@pytest.mark.parametrize("size", [40, 400])
def test_a_file_holds_what_is_said_of_its_weights_and_is_smaller(size: int) -> None:
    weights = [layer_of("a", 4, (size, size)), layer_of("b", 6, (size, size), seed=1)]
    held = {}
    for coded in (False, True):
        graph = GraphBuilder([])
        tensors = write_weights(graph, weights, coded=coded)
        output = graph.add("Identity", [tensors["a"]])
        model = graph.model("weights", [], [Port(output, (1,), INT8)], {})
        stored = stored_weight_bytes(weights, coded=coded)
        constants = sum(array.nbytes for array in initializers(model).values())
        assert stored <= constants < stored + 400  # shapes, powers and other constants
        held[coded] = stored, len(serialize(model))
    if size == 40:  # operators would take more than the code saves
        assert held[True] == held[False]
    else:
        pairs = zip(held[True], held[False], strict=True)
        assert all(small < 0.95 * large for small, large in pairs)


@pytest.mark.usefixtures("always_in_code")
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_in_code_are_bit_for_bit_the_reference(
    random_case: Callable[[int], Any], check_in_code: Callable[..., None], seed: int
) -> None:
    check_in_code(*random_case(seed))


@pytest.mark.usefixtures("always_in_code")
def test_the_runtime_runs_code_with_its_integer_kernels(
    random_case: Callable[[int], Any], tmp_path: Path
) -> None:
    import onnx

    program, _ = random_case(0)
    (tmp_path / "net.onnx").write_bytes(serialize(build_model(program, coded=True)))
    OnnxRuntimeNetwork(tmp_path / "net.onnx", optimized=tmp_path / "optimized.onnx")
    before = Counter(node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    unpacking = {"ScatterElements", "CumSum", "Where", "MatMulInteger"}
    assert unpacking <= before.keys()
    assert not kinds.keys() & {*unpacking, "Conv", "Gemm"}
