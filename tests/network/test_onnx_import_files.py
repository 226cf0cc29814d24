"""What is read of a file, what is refused, and that nothing else on the disk is read."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from sigmaquant.errors import ModelError, UnsupportedError
from sigmaquant.network.onnx import load_onnx, reading, values
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


def _linear(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "nodes": [node("Gemm", "x w b", name="fc")],
        "inputs": {"x": [BATCH, 3]},
        "constants": {"w": floats(3, 2), "b": floats(2)},
    }
    return model(**{**arguments, **changes})


def _external(entries: dict[str, str]) -> Any:
    """A linear layer whose weight is said to be elsewhere."""
    proto = _linear()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return proto


def test_external_data_beside_the_file_are_read(tmp_path: Path) -> None:
    proto = _linear()
    weights = floats(3, 2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"____" + weights.tobytes())
    path = saved(_external({"location": "data/w.bin", "offset": "4", "length": "24"}), tmp_path)
    x = floats(4, 3)
    assert_same(module_outputs(load_onnx(path), [x]), runtime(proto)({"x": x}))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/etc/passwd", "only files in the model's own folder"),
        ("../w.bin", "only files in the model's own folder"),
        ("a/../../w.bin", "only files in the model's own folder"),
        ("C:\\w.bin", "only files in the model's own folder"),
        ("..\\w.bin", "only files in the model's own folder"),
        ("", "only files in the model's own folder"),
        ("link", "behind the link"),
        ("linked/w.bin", "behind the link"),
        ("folder", "cannot read|is not a file"),
        ("pipe", "is not a file"),
        ("absent", "No such file"),
        ("short", "which has only 10"),
    ],
)
def test_other_files_are_not_read(location: str, message: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "w.bin").write_bytes(bytes(100))
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(outside / "w.bin")
    (folder / "linked").symlink_to(outside)
    (folder / "short").write_bytes(bytes(10))
    os.mkfifo(folder / "pipe")
    (tmp_path / "w.bin").write_bytes(bytes(100))
    path = saved(_external({"location": location}), folder)
    with pytest.raises(ModelError, match=message):
        load_onnx(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"length": "23"}, "needs 24 bytes, but the file says 23"),
        ({"offset": "-1"}, "offset is '-1', not a number"),
        ({"offset": "9" * 30}, "not a number"),
        ({"offset": "80"}, "needs bytes 80 to 104"),
    ],
)
def test_external_data_that_do_not_fit(
    entries: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(100))
    with pytest.raises(ModelError, match=message):
        load_onnx(saved(_external({"location": "w.bin", **entries}), tmp_path))


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_onnx(tmp_path / "absent.onnx")
    for content, message in ((b"", "holds no graph"), (b"GIF89a" * 9, "is not an ONNX file")):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ModelError, match=message):
            load_onnx(tmp_path / "bad.onnx")


def test_a_file_that_computes_a_constant(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no input"):
        load_onnx(saved(model([node("Relu", "w")], {}, {"w": floats(2)}), tmp_path))


@pytest.mark.parametrize("opset", [10, 22])
def test_other_opsets_say_how_to_convert(opset: int, tmp_path: Path) -> None:
    proto = _linear()
    proto.opset_import[0].version = opset
    with pytest.raises(UnsupportedError, match=rf"opset {opset}; 11 to 21.*convert_version"):
        load_onnx(saved(proto, tmp_path))


@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear", "QLinearConv"])
def test_quantized_files_ask_for_the_float_network(op_type: str, tmp_path: Path) -> None:
    proto = _linear(nodes=[node(op_type, "x w b", "q", "q"), node("Relu", "q")])
    with pytest.raises(UnsupportedError, match=r"quantized already.*Give the float network"):
        load_onnx(saved(proto, tmp_path))


def test_unknown_operators_name_node_operator_and_opset(tmp_path: Path) -> None:
    proto = _linear(nodes=[node("Det", "x", name="head/det")])
    with pytest.raises(UnsupportedError, match=r"node 'head/det' \(Det\), opset 17: .* Export"):
        load_onnx(saved(proto, tmp_path))
    proto = _linear(nodes=[node("FusedConv", "x w", name="a", domain="com.microsoft")])
    with pytest.raises(UnsupportedError, match=r"com\.microsoft\.FusedConv"):
        load_onnx(saved(proto, tmp_path))


def test_unknown_operators_that_nothing_reads_do_not_matter(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w b"), node("Det", "x", "unread")]
    assert load_onnx(saved(_linear(nodes=nodes), tmp_path))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Add", "x absent")], "reads 'absent', which is neither"),
        ([node("Add", "x z", "y"), node("Relu", "y", "z")], "form a circle"),
        ([node("Relu", "x"), node("Tanh", "x")], "both write 'y'"),
        ([node("Relu", "x", "z")], "output list reads 'y'"),
    ],
)
def test_nodes_that_form_no_graph(nodes: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_onnx(saved(_linear(nodes=nodes), tmp_path))


def test_nodes_may_be_in_any_order(tmp_path: Path) -> None:
    proto = _linear(nodes=[node("Relu", "h"), node("Gemm", "x w b", "h")])
    x = floats(4, 3)
    expected = np.maximum(x @ floats(3, 2) + floats(2), 0)
    assert_same(module_outputs(load_onnx(saved(proto, tmp_path)), [x]), [expected])


def test_a_long_chain_is_no_recursion(tmp_path: Path) -> None:
    names = ["x", *(f"h{i}" for i in range(2000)), "y"]
    nodes = [node("Dropout", a, b) for a, b in itertools.pairwise(names)]
    assert load_onnx(saved(_linear(nodes=nodes[::-1]), tmp_path))


@pytest.mark.parametrize("element_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16, 99])
def test_other_types_are_refused(element_type: int, tmp_path: Path) -> None:
    proto = _linear()
    proto.graph.initializer[0].data_type = element_type
    with pytest.raises(UnsupportedError, match=r"initializer 'w' is .*; convert the model"):
        load_onnx(saved(proto, tmp_path))
    proto = _linear()
    proto.graph.input[0].type.tensor_type.elem_type = element_type
    with pytest.raises(UnsupportedError, match=r"input 'x' is .* Convert the model to float32"):
        load_onnx(saved(proto, tmp_path))


def test_shapes_that_the_data_do_not_fill(tmp_path: Path) -> None:
    for size in (7, -3, 2**40):
        proto = _linear()
        proto.graph.initializer[0].dims[0] = size
        with pytest.raises(ModelError, match="initializer 'w'"):
            load_onnx(saved(proto, tmp_path))


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    proto = _linear()
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="input 'x' has no shape"):
        load_onnx(saved(proto, tmp_path))


def test_functions_and_sparse_weights_say_what_to_do(tmp_path: Path) -> None:
    proto = _linear()
    proto.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [node("Relu", "a", "b")], [])
    )
    with pytest.raises(UnsupportedError, match="inline_local_functions"):
        load_onnx(saved(proto, tmp_path))
    proto = _linear()
    proto.graph.sparse_initializer.add()
    with pytest.raises(UnsupportedError, match="store them densely"):
        load_onnx(saved(proto, tmp_path))


def test_files_and_graphs_over_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(_linear(), tmp_path)
    monkeypatch.setattr(reading, "MAX_NODES", 0)
    with pytest.raises(UnsupportedError, match="has 1 nodes; 0 are the limit"):
        load_onnx(path)
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 10)
    with pytest.raises(ModelError, match="over the limit"):
        load_onnx(path)


def test_huge_values_are_refused_before_they_are_made(tmp_path: Path) -> None:
    grown = [node("Expand", "x shape")]
    for size in (2**33, 2**62):
        constants = {"shape": integers(1, size, 1)}
        proto = model(grown, {"x": [BATCH, 1, 2]}, constants)
        with pytest.raises(ModelError, match=r"node 'y' \(Expand\)"):
            load_onnx(saved(proto, tmp_path))
        proto = model([node("Relu", "x")], {"x": [BATCH, size]})
        with pytest.raises(ModelError, match="input 'x'"):
            load_onnx(saved(proto, tmp_path))


def test_constants_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MAX_FOLDED_BYTES", 4 * 30)
    zeros = [node("ConstantOfShape", "shape", f"z{i}") for i in range(3)]
    sums = [node("Add", "x z0", "a"), node("Add", "a z1", "b"), node("Add", "b z2")]
    constants = {"shape": integers(12)}
    proto = model([*zeros[:2], *sums[:1], node("Add", "a z1")], {"x": [BATCH, 12]}, constants)
    assert load_onnx(saved(proto, tmp_path))
    proto = model([*zeros, *sums], {"x": [BATCH, 12]}, constants)
    with pytest.raises(ModelError, match="over the limit of 0 MiB together"):
        load_onnx(saved(proto, tmp_path))


def test_typed_fields_are_read_like_raw_ones(tmp_path: Path) -> None:
    proto = _linear()
    weights = floats(3, 2)
    proto.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", TensorProto.FLOAT, (3, 2), weights.reshape(-1).tolist())
    )
    module = load_onnx(saved(proto, tmp_path))
    assert torch.equal(module.get_parameter("fc.weight"), torch.from_numpy(weights.T))
