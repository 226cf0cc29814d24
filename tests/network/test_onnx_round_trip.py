"""What is imported comes back as an ONNX file: every operator, behind a layer of 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import sigmaquant as sq
from sigmaquant.errors import SigmaQuantError
from tests.network.onnx_models import BATCH, floats, model, node, runtime, saved
from tests.network.test_onnx_import_operators import CASES, Case

Array = Any

NOT_IN_FILES = {
    "cast": "tensors of the integer record are float32 or 8 bits",
    "flatten axis": "its result does not have the batch first",
    "where": "comparisons give booleans",
    "gru reset first": "it is written out step by step, with the steps first",
}
"""Refused by name, when the network is captured or exported; everything else has a form."""

CLOSER = ("prelu by element", "pad negative", "slice backwards", "Max number", "Sub number first")
"""Tested besides the first case of each operator."""

POSITIVE = ("Div", "Log", "Pow", "Reciprocal", "Sqrt")
"""Not defined, or without bounds, around 0."""

STEEP = {"Exp", "number to the x", "Pow of activations"}
"""Small differences in, large ones out."""


def _sorted_out() -> list[str]:
    """The first case of each list of operators and of their modes."""
    found: dict[str, str] = {}
    for name, case in CASES.items():
        modes = [(each.op_type, sorted(a.s for a in each.attribute if a.s)) for each in case.nodes]
        found.setdefault(repr(modes), name)
    return [name for name in (*found.values(), *CLOSER) if name not in NOT_IN_FILES]


def _behind_a_layer(case: Case) -> Any:
    """The case's model, with a layer in front of it that keeps its input as it is."""
    behind = [onnx.NodeProto.FromString(each.SerializeToString()) for each in case.nodes]
    for each in behind:
        each.input[:] = ["made" if name == "x" else name for name in each.input]
    identity = np.eye(case.shapes["x"][-1], dtype=np.float32)
    nodes = [node("MatMul", "x identity", "made", "layer"), *behind]
    inputs = {name: [BATCH, *shape] for name, shape in case.shapes.items()}
    constants = {**case.constants, "identity": identity}
    return model(nodes, inputs, constants, case.outputs, case.opsets[-1])


def _samples(case: Case, count: int, seed: int) -> dict[str, Array]:
    return {
        name: floats(count, *shape, seed=seed + i, low=case.low, high=case.high)
        for i, (name, shape) in enumerate(case.shapes.items())
    }


def _exported(proto: Any, samples: Mapping[str, Array], folder: Path) -> Any:
    network = sq.capture(saved(proto, folder))
    calibration = [tuple(map(torch.from_numpy, samples.values()))]
    quantized = sq.quantize(network, sq.BitPlan.uniform(network.table, 8), calibration)
    sq.export(quantized, folder / "out.onnx", samples=calibration)
    return onnx.load(folder / "out.onnx")


def _case(name: str) -> Case:
    case = CASES[name]
    return replace(case, low=max(case.low, 0.5)) if name.startswith(POSITIVE) else case


@pytest.mark.parametrize("name", _sorted_out())
def test_every_operator_comes_back(name: str, tmp_path: Path) -> None:
    case = _case(name)
    proto, samples = _behind_a_layer(case), _samples(case, 32, seed=1)
    packed = _exported(proto, samples, tmp_path)
    onnx.checker.check_model(packed, full_check=True)
    assert [port.name for port in packed.graph.input] == list(case.shapes)
    assert [port.name for port in packed.graph.output] == case.outputs.split()
    for found, wanted in zip(runtime(packed)(samples), runtime(proto)(samples), strict=True):
        assert found.shape == wanted.shape
        limit = 0.1 if name in STEEP else 0.03
        assert np.abs(found - wanted).mean() < limit * np.abs(wanted).max()


@pytest.mark.parametrize("name", NOT_IN_FILES)
def test_what_no_file_holds_is_refused_by_name(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    places = "|".join(each.op_type.lower() for each in case.nodes)
    with pytest.raises(SigmaQuantError, match=rf"\b({places})_\d"):
        _exported(_behind_a_layer(case), _samples(case, 8, seed=1), tmp_path)
