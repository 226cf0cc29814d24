import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sigmaquant.errors import ArtifactError, OutputError, UnsupportedError
from sigmaquant.lowering.program import (
    Add,
    Argument,
    AveragePool,
    BatchSize,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Linear,
    Lookup,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Quantize,
    Reshape,
    Slice,
    Value,
    Weights,
)
from sigmaquant.lowering.storage import load_program, save_program

NAMES = st.text(min_size=1, max_size=8)
SHAPES = st.lists(st.integers(1, 64), max_size=3).map(tuple)
PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3).map(tuple)
FLOATS = st.floats(allow_nan=False)


def arrays(dtype: type[np.generic], rank: int) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=rank, max_dims=rank, max_side=4)
    return hnp.arrays(dtype, shapes, elements={"allow_nan": False} if dtype is np.float32 else None)


def weights() -> st.SearchStrategy[Weights]:
    parts = (st.integers(2, 8), arrays(np.int8, 4), arrays(np.float32, 1))
    return st.builds(lambda *p: Weights(f"layer{id(p[1])}", *p), *parts)


def arguments() -> st.SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | FLOATS | NAMES
    objects = st.sampled_from([torch.float32, torch.contiguous_format, Argument(0), BatchSize()])
    return st.recursive(
        plain | objects | arrays(np.float32, 2),
        lambda inner: (
            st.lists(inner, max_size=3).map(tuple) | st.dictionaries(NAMES, inner, max_size=2)
        ),
    )


def operators() -> st.SearchStrategy[Operator]:
    place: dict[str, Any] = {"name": NAMES, "inputs": st.tuples(NAMES), "output": NAMES}
    fields: dict[type[Operator], dict[str, Any]] = {
        Quantize: {},
        Dequantize: {},
        Convolution: {
            "weights": weights(),
            "bias": arrays(np.int32, 1),
            "stride": SHAPES,
            "padding": PAIRS,
            "dilation": SHAPES,
            "groups": st.integers(1, 9),
        },
        Linear: {"weights": weights(), "bias": arrays(np.int32, 1)},
        Add: {"fraction_bits": st.integers(0, 14)},
        GlobalAverage: {"keepdim": st.booleans()},
        AveragePool: {"kernel": SHAPES, "stride": SHAPES, "padding": PAIRS},
        Lookup: {"table": arrays(np.uint8, 1), "function": NAMES},
        MaxPool: {
            "kernel": SHAPES,
            "stride": SHAPES,
            "padding": PAIRS,
            "dilation": SHAPES,
            "ceil_mode": st.booleans(),
        },
        Clamp: {"low": st.integers(0, 9), "high": st.integers(9, 255)},
        Pad: {"padding": PAIRS},
        Concat: {"axis": st.integers(0, 2)},
        Reshape: {},
        Permute: {"order": SHAPES},
        Slice: dict.fromkeys(("axes", "starts", "stops", "steps"), SHAPES),
        FloatOperator: {
            "target": NAMES,
            "arguments": st.lists(arguments(), max_size=3).map(tuple),
            "keywords": st.dictionaries(NAMES, arguments(), max_size=2),
        },
    }
    return st.one_of(st.builds(kind, **place, **fields[kind]) for kind in fields)


ENCODINGS = st.builds(
    Encoding, st.floats(2**-13, 1, width=32), st.integers(0, 255), st.integers(1, 8)
)
VALUES = st.builds(Value, NAMES, SHAPES, st.none() | ENCODINGS)
PROGRAMS = st.builds(
    lambda network, values, program, inputs, outputs: IntegerProgram(
        network, {value.name: value for value in values}, tuple(program), inputs, outputs
    ),
    NAMES,
    st.lists(VALUES, max_size=4),
    st.lists(operators(), max_size=5),
    st.tuples(NAMES),
    st.tuples(NAMES, NAMES),
)


def same(left: Any, right: Any) -> bool:
    """Equality through records and arrays, with their types."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if dataclasses.is_dataclass(left):
        return same(vars(left), vars(right))
    return bool(left == right)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=PROGRAMS)
def test_a_program_survives_its_file(program: IntegerProgram, tmp_path: Path) -> None:
    path = tmp_path / "program.safetensors"
    save_program(program, path)
    assert same(load_program(path), program)


@pytest.fixture
def program() -> IntegerProgram:
    shared = Weights("head", 3, np.zeros((2, 4), np.int8), np.ones(2, np.float32))
    bias = np.zeros(2, np.int32)
    return IntegerProgram(
        "Net",
        {"x": Value("x", (4,), None)},
        (Linear("head", ("x",), "y", shared, bias), Linear("head_1", ("y",), "z", shared, bias)),
        ("x",),
        ("z",),
    )


@pytest.fixture
def saved(program: IntegerProgram, tmp_path: Path) -> Path:
    path = tmp_path / "program.safetensors"
    save_program(program, path)
    return path


def test_weights_used_twice_stay_one_and_are_stored_once(saved: Path) -> None:
    first, second = load_program(saved).operators
    assert isinstance(first, Linear)
    assert isinstance(second, Linear)
    assert first.weights is second.weights
    with safetensors.safe_open(saved, framework="numpy") as file:
        assert sum(file.get_tensor(key).dtype == np.int8 for key in file.keys()) == 1  # noqa: SIM118


def test_the_same_program_gives_the_same_bytes(program: IntegerProgram, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_program(program, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_file_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.safetensors: cannot read"):
        load_program(tmp_path / "none.safetensors")


def test_a_truncated_file_is_an_artifact_error(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="cannot read the integer program"):
        load_program(saved)


def test_a_changed_weight_is_an_artifact_error(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged: its digest does not match"):
        load_program(saved)


def test_another_safetensors_file_is_an_artifact_error(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(3, np.float32)}, path)
    with pytest.raises(ArtifactError, match="not an integer program"):
        load_program(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (json.dumps({"schema_version": 99, "sha256": "", "content": "{}"}), "schema 99"),
        (json.dumps({"schema_version": 1}), "header is damaged"),
        ("not json", "header is damaged"),
    ],
)
def test_another_header_is_an_artifact_error(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "program.safetensors"
    safetensors.numpy.save_file({}, path, {"sigmaquant.IntegerProgram": header})
    with pytest.raises(ArtifactError, match=message):
        load_program(path)


def test_a_folder_that_cannot_be_made_is_an_output_error(
    program: IntegerProgram, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_program(program, tmp_path / "file" / "program.safetensors")


def test_an_argument_that_no_file_holds_is_unsupported(tmp_path: Path) -> None:
    operator = FloatOperator("f", ("x",), "y", "aten.to.device", (torch.device("cpu"),), {})
    program = IntegerProgram("Net", {}, (operator,), (), ())
    path = tmp_path / "program.safetensors"
    with pytest.raises(UnsupportedError, match="cannot store device"):
        save_program(program, path)
    assert not path.exists()
