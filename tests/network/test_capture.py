from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sigmaquant.errors import ModelError, OutputError
from sigmaquant.network import Network, capture
from tests import nets


@pytest.mark.parametrize("name", nets.CASES)
def test_a_captured_network_computes_what_the_model_computes(name: str) -> None:
    network, model = nets.captured(name), nets.model(name)
    batch = network.batch_size or 5
    inputs = nets.samples(name, batch, seed=3)
    with torch.no_grad():
        expected = nets.flat(model(*inputs))
    actual = network(*inputs)
    assert len(actual) == len(expected)
    for got, wanted in zip(actual, expected, strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in nets.CASES if name not in ("constants", "decoder", "decoder1d")]
)
def test_layers_carry_the_names_and_shapes_of_the_models_own_parameters(name: str) -> None:
    parameters = dict(nets.model(name).named_parameters(remove_duplicate=False))
    for layer in nets.captured(name).table.layers:
        weight = parameters.get(f"{layer.name}.weight", parameters.get(layer.name))
        assert weight is not None, layer.name
        assert tuple(weight.shape) == layer.weight_shape


@pytest.mark.parametrize("name", nets.CASES)
def test_places_are_unique_and_tensors_steps_and_groups_agree(name: str) -> None:
    network = nets.captured(name)
    table = network.table
    assert len(set(network.places.values())) == len(network.places)
    tensors = [tensor.name for tensor in table.tensors]
    assert len(set(tensors)) == len(tensors)
    for step in table.steps:
        assert step.output in step.live
        assert set(step.live) <= set(tensors)
    for layer in table.layers:
        assert set(layer.input_groups) <= set(table.groups)
        assert layer.output_group is None or layer.output_group in table.groups


def test_the_model_is_not_changed() -> None:
    model = nets.model("resnet").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = capture(model, nets.samples("resnet"))
    network.module.get_parameter("conv1.weight").data.zero_()
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_inputs_are_described() -> None:
    network = nets.captured("two_inputs")
    assert network.input_shapes == ((3, 8, 8), (5,))
    assert network.input_dtypes == (torch.float32, torch.float32)
    assert network.batch_size is None
    assert network.table.network == "TwoInputs"


def test_one_example_does_not_fix_the_batch() -> None:
    network = capture(nets.model("mlp"), torch.zeros(1, 6))
    assert network.batch_size is None
    assert network(torch.zeros(7, 6))[0].shape == (7, 4)


class OneAtATime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.reshape(1, 8))


@pytest.mark.parametrize(
    ("model", "example"),
    [(nets.model("fixed_batch"), nets.samples("fixed_batch")), (OneAtATime(), torch.ones(1, 2, 4))],
)
def test_a_fixed_batch_is_noticed(model: nn.Module, example: Tensor) -> None:
    network = capture(model, example)
    assert network.batch_size == (1 if isinstance(model, OneAtATime) else 2)
    assert all(len(shape) for shape in network.input_shapes)


@pytest.mark.parametrize(
    "name", ["resnet", "dict_output", "tied", "functional", "fixed_batch", "same_padding"]
)
def test_save_and_load_keep_digest_and_table(name: str, tmp_path: Path) -> None:
    network = nets.captured(name)
    path = tmp_path / "network.pt2"
    network.save(path)
    loaded = Network.load(path)
    assert loaded.table == network.table
    assert loaded.digest() == network.digest()
    assert loaded.batch_size == network.batch_size
    inputs = nets.samples(name)
    for a, b in zip(loaded(*inputs), network(*inputs), strict=True):
        assert torch.equal(a, b)


def test_the_digest_tells_networks_apart() -> None:
    model = nets.model("mlp")
    model.out.bias.data[0] += 1e-3
    digest = nets.captured("mlp").digest()
    assert digest == capture(nets.model("mlp"), nets.samples("mlp")).digest()
    assert digest != capture(model, nets.samples("mlp")).digest()


class DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) if x.sum() > 0 else x


class TorchCond(DataDependent):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: self.out(x), lambda x: x * 1, (x,))


class WithoutBatch(DataDependent):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.out(x)
        return y, y.mean()


def hooked_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model.weight = model[0].weight * 2  # what hooks such as the old weight_norm leave behind
    return model


def nan_model() -> nn.Module:
    model = nn.Linear(4, 3)
    model.weight.data[1, 2] = torch.nan
    return model


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (DataDependent(), torch.ones(2, 4), "DataDependent cannot be exported.*torch.where"),
        (TorchCond(), torch.ones(2, 4), "graphs within its graph.*torch.where"),
        (WithoutBatch(), torch.ones(2, 4), "the output made by mean"),
        (hooked_model(), torch.ones(2, 4), "Sequential cannot be copied.*weight_norm"),
        (nan_model(), torch.ones(2, 4), "weight holds NaN or infinite"),
        (nn.Linear(4, 3).double(), torch.ones(2, 4), r"weight is torch.float64.*model.float\(\)"),
        (nn.Linear(4, 3), torch.ones(2, 5), r"Linear fails on the example input of shape \(2, 5\)"),
        (nn.Linear(4, 3), torch.tensor(1.0), "with a batch"),
        (nn.Linear(4, 3), torch.ones(0, 4), "with a batch"),
        (nn.Linear(4, 3), (), "with a batch"),
        (nn.ReLU(), torch.ones(2, 4), "ReLU has no convolution or linear layer.*relu"),
    ],
)
def test_what_cannot_be_captured_is_refused(
    model: nn.Module, example: Tensor, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        capture(model, example)


def test_a_file_that_holds_no_network(tmp_path: Path) -> None:
    path = tmp_path / "network.pt2"
    with pytest.raises(ModelError, match="no such file"):
        Network.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"torch\.export: not an archive"):
        Network.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(ModelError, match=r"is not a network saved by torch\.export"):
        Network.load(path)


def test_a_saved_network_holds_two_samples_of_its_example_at_most(tmp_path: Path) -> None:
    model, samples = nn.Linear(4, 3), torch.randn(20_000, 4)
    capture(model, samples).save(tmp_path / "network.pt2")
    assert (tmp_path / "network.pt2").stat().st_size < samples.numel()
    assert Network.load(tmp_path / "network.pt2").batch_size is None


def test_a_model_that_cannot_be_exported_names_its_line_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelError, match=r"test_capture\.py, line \d+: return self\.out\(x\) if"):
        capture(DataDependent(), torch.ones(2, 4))
    assert capfd.readouterr() == ("", "")


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        nets.captured("mlp").save(tmp_path / "file" / "network.pt2")
