"""Layers that stay in float because the user says so."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs.flash import float_parameter_bytes
from sigmaquant.errors import ModelError
from sigmaquant.export import export_onnx
from sigmaquant.export.verify import rounded_otherwise
from sigmaquant.lowering import lower
from sigmaquant.lowering.reference import run_reference
from sigmaquant.network import Network, capture
from sigmaquant.network.operators import Role
from sigmaquant.quantized import quantize
from tests import nets


@pytest.fixture(scope="module")
def network() -> Network:
    return capture(nets.model("resnet"), nets.samples("resnet"), float_layers=["conv1"])


def test_the_layer_is_no_choice_and_its_weights_count_as_float32(network: Network) -> None:
    whole = nets.captured("resnet")
    left_out = whole.table.layer("conv1")
    assert {layer.name for layer in whole.table.layers} - {"conv1"} == {
        layer.name for layer in network.table.layers
    }
    assert float_parameter_bytes(network.table) - float_parameter_bytes(whole.table) == 4 * (
        left_out.weights + left_out.channels
    )
    assert any(name.startswith("conv1 ") for name in network.table.float_operators)
    assert network.digest() != whole.digest()


def test_what_reads_the_layer_is_integer_again(network: Network) -> None:
    roles = {network.places[node]: role for node, role in network.encodings.roles.items()}
    assert roles["conv1"] is Role.FLOAT
    assert all(roles[layer.name] is Role.LAYER for layer in network.table.layers)


def test_the_exported_file_holds_the_layer_in_float(network: Network, tmp_path: Path) -> None:
    plan = BitPlan.uniform(network.table, 4)
    quantized = quantize(network, plan, nets.loader("resnet"))
    program = lower(quantized)
    (samples,) = nets.samples("resnet", 4, seed=5)
    (name,) = program.inputs
    verification = export_onnx(program, tmp_path / "net.onnx", {name: samples.numpy()})
    assert not verification.exact
    kept = dict(quantized.graph_module.named_parameters())
    torch.testing.assert_close(
        kept["conv1.weight"], network.module.get_parameter("conv1.weight"), rtol=0, atol=0
    )


def test_a_float_rounding_moves_what_lies_behind_by_little(network: Network) -> None:
    quantized = quantize(network, BitPlan.uniform(network.table, 8), nets.loader("resnet"))
    whole = lower(nets.quantized("resnet", 8))
    (samples,) = nets.samples("resnet", 64, seed=5)
    for program, moves in ((lower(quantized), True), (whole, False)):
        (name,) = program.inputs
        arrays = {name: samples.numpy()}
        exact, moved = run_reference(program, arrays), rounded_otherwise(program, arrays)
        for output, array in exact.items():
            np.testing.assert_allclose(moved[output], array, atol=0.1 * np.abs(array).max())
            assert moves or np.array_equal(moved[output], array)


def test_a_file_may_be_as_far_off_as_one_float_rounding_and_no_further(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = importlib.import_module("sigmaquant.export.verify")
    program = lower(quantize(network, BitPlan.uniform(network.table, 8), nets.loader("resnet")))
    (samples,) = nets.samples("resnet", 4, seed=5)
    (name,) = program.inputs
    arrays = {name: samples.numpy()}
    expected = run_reference(program, arrays)

    def off_by(share: float) -> dict[str, np.ndarray]:
        return {output: array * np.float32(1 + share) for output, array in expected.items()}

    monkeypatch.setattr(verify, "rounded_otherwise", lambda *_: off_by(0.2))
    agree = verify._outputs_agree
    assert agree(program, arrays, off_by(0.04), expected)
    assert agree(program, arrays, off_by(0.19), expected)
    assert not agree(program, arrays, off_by(0.21), expected)
    monkeypatch.undo()
    assert not agree(program, arrays, off_by(0.19), expected)


def test_it_stays_float_in_a_saved_network(network: Network, tmp_path: Path) -> None:
    network.save(tmp_path / "net.pt2")
    loaded = Network.load(tmp_path / "net.pt2")
    assert loaded.float_layers == ("conv1",)
    assert loaded.digest() == network.digest()
    more = loaded.with_float_layers([loaded.table.layers[0].name])
    assert set(more.float_layers) > {"conv1"}


def test_an_unknown_name_is_met_with_near_ones() -> None:
    with pytest.raises(ModelError, match=r"no layer 'conv_1'.*conv1"):
        nets.captured("resnet").with_float_layers(["conv_1"])


def test_one_layer_has_to_be_left() -> None:
    whole = nets.captured("mlp")
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        whole.with_float_layers([layer.name for layer in whole.table.layers])
