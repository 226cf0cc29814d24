"""Captured networks: the reference within the tolerance, or a typed refusal."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering import IntegerProgram, lower
from sigmaquant.quantized import quantize
from tests import nets

pytest.importorskip("ai_edge_litert")

from sigmaquant.export import export_tflite

EXPORTED = [
    "resnet",
    "mobilenet",
    "shuffle",
    "activations",
    "conv1d",
    "tied",
    "decoder",
    "decoder1d",
    "attention",
]
REFUSED = {"grid_sample": "grid_sampler", "unknown": "cumsum"}


def lowered(name: str) -> tuple[IntegerProgram, dict[str, np.ndarray]]:
    """Weights of 2 to 8 bits in turn, activations of 8 or 4 bits."""
    network = nets.captured(name)
    widths = itertools.cycle((8, 2, 5, 4, 3, 7, 6))
    plan = BitPlan.uniform(network.table, 8, activation_bits=4 if len(name) % 2 else 8)
    plan = plan.with_weight_bits({layer.name: next(widths) for layer in network.table.layers})
    program = lower(quantize(network, plan, nets.loader(name)))
    inputs = nets.samples(name, 6, seed=5)
    return program, {key: x.numpy() for key, x in zip(program.inputs, inputs, strict=True)}


@pytest.mark.parametrize("name", EXPORTED)
def test_lowered_networks_are_exported(name: str, tmp_path: Path) -> None:
    program, inputs = lowered(name)
    result = export_tflite(program, tmp_path / "net.tflite", inputs)
    assert max(result.largest_steps.values()) <= 1


@pytest.mark.parametrize("name", REFUSED)
def test_lowered_networks_are_refused(name: str, tmp_path: Path) -> None:
    program, inputs = lowered(name)
    with pytest.raises(UnsupportedError, match=rf"TensorFlow Lite .*{REFUSED[name]}"):
        export_tflite(program, tmp_path / "net.tflite", inputs)
    assert list(tmp_path.iterdir()) == []
