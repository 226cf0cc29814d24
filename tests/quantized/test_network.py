from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import ArtifactError, OutputError
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork, quantize
from tests import nets


def same_outputs(a: QuantizedNetwork, b: QuantizedNetwork, name: str) -> bool:
    inputs = nets.samples(name, seed=9)
    with torch.no_grad():
        pairs = zip(nets.flat(a(*inputs)), nets.flat(b(*inputs)), strict=True)
        return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", ["mlp", "resnet", "tied", "functional", "dict_output", "norms"])
def test_saving_keeps_everything(name: str, tmp_path: Path) -> None:
    before = nets.quantized(name, 3)
    path = tmp_path / "quantized.safetensors"
    before.save(path)
    after = QuantizedNetwork.load(path, nets.captured(name))
    assert after.plan == before.plan
    assert same_outputs(before, after, name)
    for group in nets.captured(name).table.groups:
        encoding = before.activation_quantizer(group).encoding()
        assert after.activation_quantizer(group).encoding() == encoding


def test_a_channels_last_network_can_be_saved(tmp_path: Path) -> None:
    model = nets.model("norms").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = capture(model, nets.samples("norms"))
    plan = BitPlan.uniform(network.table, 4)
    before = quantize(network, plan, nets.loader("norms"))
    before.save(tmp_path / "quantized.safetensors")
    assert same_outputs(
        before, QuantizedNetwork.load(tmp_path / "quantized.safetensors", network), "norms"
    )


def test_dict_outputs_stay_a_dict() -> None:
    with torch.no_grad():
        outputs = nets.quantized("dict_output")(*nets.samples("dict_output"))
    assert list(outputs) == ["mask", "classes"]


def test_a_copy_is_trained_on_its_own() -> None:
    original = nets.quantized("mlp", 4)
    copy = original.copy()
    assert same_outputs(original, copy, "mlp")
    copy.weight("hidden").data.zero_()
    assert not same_outputs(original, copy, "mlp")
    assert float(original.weight("hidden").detach().abs().sum()) > 0


def test_state_and_restore() -> None:
    quantized = nets.quantized("mlp", 4)
    state = quantized.state()
    reference = quantized.copy()
    for parameter in quantized.parameters():
        parameter.data.add_(0.1)
    assert not same_outputs(quantized, reference, "mlp")
    quantized.restore(state)
    assert same_outputs(quantized, reference, "mlp")


def test_everything_on_the_way_is_trained() -> None:
    quantized = nets.quantized("resnet", 4)
    quantized(*nets.samples("resnet")).square().sum().backward()
    trained = {name for name, p in quantized.named_parameters() if p.grad is not None}
    assert "graph_module.conv1.weight" in trained
    assert "graph_module.conv1.bias" in trained
    scales = {name for name in trained if name.endswith(".scale")}
    table = nets.captured("resnet").table
    assert len(scales) == len(table.layers) + len(table.groups)


def test_tied_weights_are_one_parameter_with_one_width() -> None:
    network = nets.captured("tied")
    plan = BitPlan.uniform(network.table, 8).with_weight_bits({network.table.layers[0].name: 2})
    quantized = quantize(network, plan, nets.loader("tied"))
    tied = network.table.layers[0].name
    assert len(network.layer_nodes()[tied]) == 2
    assert quantized.weight_quantizer(tied).bits == 2
    levels = quantized.weight_quantizer(tied).levels(quantized.weight(tied))
    assert set(levels.unique().tolist()) <= {-2, -1, 0, 1}


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "quantized.safetensors"
    nets.quantized("mlp").save(path)
    return path


def test_a_file_of_another_network(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model = nets.model("mlp")
    model.out.weight.data *= 2
    other: Network = capture(model, nets.samples("mlp"))
    with pytest.raises(ArtifactError, match="made from another network"):
        QuantizedNetwork.load(path, other)


def test_files_that_are_missing_damaged_or_foreign(tmp_path: Path) -> None:
    network = nets.captured("mlp")
    with pytest.raises(ArtifactError, match="cannot read the quantized network"):
        QuantizedNetwork.load(tmp_path / "absent", network)
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match="cannot read the quantized network"):
        QuantizedNetwork.load(path, network)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ArtifactError, match="is not a quantized network of this version"):
        QuantizedNetwork.load(path, network)


@pytest.mark.parametrize("damage", ["plan", "tensors"])
def test_a_file_whose_parts_do_not_fit(damage: str, tmp_path: Path) -> None:
    network, path = nets.captured("mlp"), tmp_path / "quantized.safetensors"
    metadata = {
        "format": "sigmaquant.quantized.1",
        "network": network.digest(),
        "plan": BitPlan.uniform(network.table, 4).model_dump_json() if damage != "plan" else "{}",
    }
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(ArtifactError, match="damaged"):
        QuantizedNetwork.load(path, network)


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        nets.quantized("mlp").save(tmp_path / "file" / "quantized.safetensors")


def test_a_plan_that_does_not_cover_the_network() -> None:
    network = nets.captured("mlp")
    plan = BitPlan.uniform(nets.captured("resnet").table, 4)
    with pytest.raises(ArtifactError, match="does not cover hidden, out"):
        quantize(network, plan, nets.loader("mlp"))


def test_activations_of_16_bits_are_simulated() -> None:
    network = nets.captured("mlp")
    plans = [BitPlan.uniform(network.table, 8, bits) for bits in (4, 8, 16)]
    batch = nets.loader("mlp")[0]
    with torch.no_grad():
        exact = network(*batch)[0]
        errors = [
            float((quantize(network, plan, nets.loader("mlp"))(*batch) - exact).square().mean())
            for plan in plans
        ]
    assert errors == sorted(errors, reverse=True)
