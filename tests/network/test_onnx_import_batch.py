"""Batches, shapes that are computed, and inputs whose sizes the file leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sigmaquant.errors import ModelError, UnsupportedError
from sigmaquant.network import capture
from sigmaquant.network.onnx import load_onnx
from tests.network.onnx_models import (
    BATCH,
    assert_same,
    floats,
    integers,
    model,
    module_outputs,
    node,
    runtime,
    saved,
)


def _same_for_batches(proto: Any, folder: Path, *shape: int) -> None:
    module, run = load_onnx(saved(proto, folder)), runtime(proto)
    for count in (1, 2, 5):
        x = floats(count, *shape, seed=count)
        assert_same(module_outputs(module, [x]), run({"x": x}))


def test_a_shape_computed_from_the_input(tmp_path: Path) -> None:
    """As torch writes ``x.view(x.shape[0], -1)``."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n"),
        node("Unsqueeze", "n zeros", "ns"),
        node("Concat", "ns rest", "target", axis=0),
        node("Reshape", "x target"),
    ]
    constants = {"zero": integers(0)[0], "zeros": integers(0), "rest": integers(-1)}
    _same_for_batches(model(nodes, {"x": [BATCH, 3, 4]}, constants), tmp_path, 3, 4)


def test_an_expansion_as_torch_writes_it(tmp_path: Path) -> None:
    """``token.expand(n, -1, -1)``: where, equal and constants of a shape."""
    nodes = [
        node("Shape", "x", "shape", start=0, end=1),
        node("Concat", "shape minus minus", "wanted", axis=0),
        node("ConstantOfShape", "three", "ones", value=_tensor(np.array([1], np.int64))),
        node("Mul", "ones minus", "unknown"),
        node("Equal", "wanted unknown", "open"),
        node("Where", "open ones wanted", "target"),
        node("Expand", "token target", "tokens"),
        node("Concat", "tokens x", axis=1),
    ]
    constants = {"minus": integers(-1), "three": integers(3), "token": floats(1, 1, 4)}
    _same_for_batches(model(nodes, {"x": [BATCH, 3, 4]}, constants), tmp_path, 3, 4)


def test_a_size_halved_and_compared(tmp_path: Path) -> None:
    """Integers divide towards zero; comparisons and their joins are computed at import."""
    nodes = [
        node("Shape", "x", "shape", start=2),
        node("Div", "shape two", "half"),
        node("Size", "x", "size"),
        node("Less", "half shape", "a"),
        node("GreaterOrEqual", "half shape", "b"),
        node("LessOrEqual", "half shape", "c"),
        node("Not", "b", "d"),
        node("And", "a d", "e"),
        node("Or", "e c", "f"),
        node("Where", "f half shape", "end"),
        node("Slice", "x zeros end axes", "cut"),
        node("Range", "start stop step", "places"),
        node("Gather", "cut places", axis=2),
    ]
    constants = {
        "two": integers(2),
        "zeros": integers(0),
        "axes": integers(2),
        "start": integers(1)[0],
        "stop": integers(-1)[0],
        "step": integers(-1)[0],
    }
    _same_for_batches(model(nodes, {"x": [BATCH, 3, 5]}, constants), tmp_path, 3, 5)


def test_the_zero_state_of_a_recurrent_layer(tmp_path: Path) -> None:
    """Made for each batch, as torch and Keras write it."""
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        node("Shape", "x", "n", start=0, end=1),
        node("Concat", "one n hidden", "shape", axis=0),
        node("ConstantOfShape", "shape", "zeros"),
        node("LSTM", "steps w r b - zeros zeros", "all last cell", hidden_size=3),
        node("Squeeze", "last zero"),
    ]
    constants = {
        "one": integers(1),
        "hidden": integers(3),
        "zero": integers(0),
        "w": floats(1, 12, 4),
        "r": floats(1, 12, 3),
        "b": floats(1, 24),
    }
    _same_for_batches(model(nodes, {"x": [BATCH, 5, 4]}, constants), tmp_path, 5, 4)


def test_a_sum_of_samples_needs_the_batch(tmp_path: Path) -> None:
    nodes = [node("Shape", "x", "shape"), node("Cast", "shape", "f", to=1), node("Mul", "x f")]
    with pytest.raises(UnsupportedError, match="computed from the number of samples"):
        load_onnx(saved(model(nodes, {"x": [BATCH, 2]}), tmp_path))


def test_a_file_for_one_sample_becomes_one_for_any(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "c", "conv", pads=[1, 1, 1, 1]),
        node("Reshape", "c shape", "r"),
        node("Transpose", "r", perm=[0, 2, 1]),
    ]
    constants = {"w": floats(4, 3, 3, 3), "shape": integers(1, 4, -1)}
    proto = model(nodes, {"x": [1, 3, 6, 6]}, constants)
    network = capture(saved(proto, tmp_path))
    assert network.batch_size is None
    x, run = floats(3, 3, 6, 6), runtime(proto)
    expected = np.concatenate([run({"x": x[i : i + 1]})[0] for i in range(3)])
    assert_same([network(torch.from_numpy(x))[0].numpy()], [expected])


def test_samples_that_meet_keep_the_files_batch(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("ReduceMean", "c", "m", axes=[0], keepdims=1),
        node("Sub", "c m"),
    ]
    proto = model(nodes, {"x": [1, 3, 6, 6]}, {"w": floats(4, 3, 3, 3)})
    assert capture(saved(proto, tmp_path)).batch_size == 1


def test_a_larger_batch_that_the_file_fixes_is_kept(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x shape", "r"), node("Gemm", "r w", name="fc")]
    proto = model(nodes, {"x": [4, 2, 3]}, {"w": floats(6, 2), "shape": integers(4, 6)})
    module = load_onnx(saved(proto, tmp_path))
    x = floats(4, 2, 3)
    assert_same(module_outputs(module, [x]), runtime(proto)({"x": x}))
    with pytest.raises(ValueError, match="takes batches of 4 only, not 3"):
        module_outputs(module, [x[:3]])
    assert capture(tmp_path / "net.onnx").batch_size == 4


def test_open_sizes_come_from_the_example(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c", "conv"), node("GlobalAveragePool", "c")]
    proto = model(nodes, {"x": [BATCH, 3, "H", "W"]}, {"w": floats(4, 3, 3, 3)})
    path = saved(proto, tmp_path)
    with pytest.raises(ModelError, match=r"input 'x' open: \[\?, 3, \?, \?\]; give an example"):
        capture(path)
    with pytest.raises(ModelError, match=r"is \[\?, 3, \?, \?\], the example \[2, 1, 8, 8\]"):
        capture(path, torch.zeros(2, 1, 8, 8))
    with pytest.raises(ModelError, match="has 1 inputs, the example 2"):
        capture(path, [torch.zeros(2, 3, 8, 8)] * 2)
    assert capture(path, torch.zeros(2, 3, 8, 7)).input_shapes == ((3, 8, 7),)


def test_inputs_with_different_batches(tmp_path: Path) -> None:
    proto = model([node("Add", "x z")], {"x": [BATCH, 3], "z": [1, 3]})
    with pytest.raises(ModelError, match=r"different first dimensions: x .*, z \[1, 3\]"):
        load_onnx(saved(proto, tmp_path))


def test_names_of_inputs_become_names_of_arguments(tmp_path: Path) -> None:
    names = ["serving:0", "serving.0", "in", "self", "0"]
    sums = [node("Sum", " ".join(names), "s"), node("Gemm", "s w", name="fc")]
    proto = model(sums, {name: [BATCH, 2] for name in names}, {"w": floats(2, 2)})
    module = load_onnx(saved(proto, tmp_path, "my net.onnx"))
    assert type(module).__name__ == "my_net"
    inputs = [floats(3, 2, seed=i) for i in range(5)]
    expected = runtime(proto)(dict(zip(names, inputs, strict=True)))
    assert_same(module_outputs(module, inputs), expected)
    network = capture(module, tuple(map(torch.from_numpy, inputs)))
    assert network.table.network == "my_net"


def test_an_embedding_of_integers(tmp_path: Path) -> None:
    nodes = [node("Gather", "table x", "e", "embed"), node("MatMul", "e w", name="fc")]
    proto = model(
        nodes, {"x": [BATCH, 5]}, {"table": floats(9, 4), "w": floats(4, 2)}, integer_inputs=["x"]
    )
    module = load_onnx(saved(proto, tmp_path))
    assert isinstance(module.get_submodule("embed"), torch.nn.Embedding)
    x = np.random.default_rng(0).integers(0, 9, (3, 5))
    assert_same(module_outputs(module, [x]), runtime(proto)({"x": x}))


def _tensor(array: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array)
