"""From a file made by torch.onnx to a quantized file, as a user goes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import sigmaquant as sq
from sigmaquant.data import load_network
from sigmaquant.divergence import divergence
from sigmaquant.errors import MissingExtraError, ModelError
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.network import capture
from sigmaquant.network.onnx import load_onnx
from tests import nets
from tests.network.onnx_models import (
    assert_same,
    floats,
    model,
    module_outputs,
    node,
    runtime,
    saved,
)

SHAPE = (3, 8, 8)
FROM_TORCH = ("mlp", "resnet", "mobilenet", "concat", "shuffle", "activations", "conv1d", "tied")


def _exported(network: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Path:
    """By the exporter of torch that needs no further package."""
    names = [f"in{i}" for i in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            inputs,
            path,
            dynamo=False,
            opset_version=15,
            input_names=names,
            dynamic_axes={name: {0: "N"} for name in names},
        )
    return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CIFAR-like ResNet trained for a few steps, so that its batch norms are not trivial."""
    torch.manual_seed(0)
    network = nets.ResNet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(5):
        x = torch.rand(16, *SHAPE)
        loss = nn.functional.cross_entropy(network(x), x.mean((2, 3)).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("resnet") / "resnet.onnx"
    return _exported(network, (torch.rand(2, *SHAPE),), path)


@pytest.mark.parametrize("name", FROM_TORCH)
def test_a_file_of_torch_is_captured_like_its_model(name: str, tmp_path: Path) -> None:
    inputs = nets.samples(name, 2)
    path = _exported(nets.model(name), tuple(inputs), tmp_path / "net.onnx")
    arrays = [x.numpy() for x in nets.samples(name, 5, seed=4)]
    expected = runtime(onnx.load(path))({f"in{i}": x for i, x in enumerate(arrays)})
    assert_same(module_outputs(load_onnx(path), arrays), expected)
    found, wanted = capture(path), nets.captured(name)
    assert [layer.name for layer in found.table.layers] == [
        layer.name for layer in wanted.table.layers
    ]
    assert found.table.float_operators == wanted.table.float_operators == ()
    assert found.batch_size is None


def test_the_weights_are_trained(resnet: Path) -> None:
    network = load_onnx(resnet)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.rand(4, *SHAPE)).square().sum().backward()
    optimizer.step()
    assert {"conv1.weight", "layer2.0.conv2.weight", "fc.weight", "fc.bias"} <= before.keys()
    for name, parameter in network.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_import_search_quantize_export(resnet: Path, tmp_path: Path) -> None:
    network = sq.capture(resnet)
    assert network.table.network == "resnet"
    calibration = [torch.rand(16, *SHAPE) for _ in range(2)]
    profile = sq.load_profile("cortex-m4")
    scores = sq.score(network, calibration)
    plan = sq.search(network, scores, device=profile, budget=sq.Budget(flash="3 KiB"))
    quantized = sq.quantize(network, plan, calibration)
    sq.export(quantized, tmp_path / "packed.onnx")
    x = floats(4, *SHAPE, low=0.0)
    (packed,) = OnnxRuntimeNetwork(tmp_path / "packed.onnx", threads=1)(x)
    (original,) = runtime(onnx.load(resnet))({"in0": x})
    assert np.corrcoef(packed.ravel(), original.ravel())[0, 1] > 0.9


def test_finetuning_an_imported_network(resnet: Path) -> None:
    network = sq.capture(resnet)
    calibration = [torch.rand(16, *SHAPE) for _ in range(2)]
    plan = sq.BitPlan.uniform(network.table, 4)
    tuned = sq.finetune(network, plan, calibration, epochs=1)
    assert tuned.plan == plan


def _never(_: tuple[str, ...]) -> Any:
    raise AssertionError("the file says what it takes")


def test_a_model_named_by_a_file(resnet: Path) -> None:
    network = load_network(str(resnet), None, _never)
    assert network.input_shapes == (SHAPE,)
    with pytest.raises(ModelError, match=r"resnet\.onnx holds its own weights"):
        load_network(str(resnet), "w.safetensors", _never)


def test_a_module_needs_an_example() -> None:
    with pytest.raises(ModelError, match="give an example input to capture a Mlp"):
        capture(nets.model("mlp"))


def test_load_onnx_is_public(resnet: Path) -> None:
    assert isinstance(sq.load_onnx(resnet), nn.Module)


def test_reading_without_onnx_says_what_to_install(
    resnet: Path, without: Callable[[str], None]
) -> None:
    without("onnx")
    with pytest.raises(MissingExtraError, match=r"sigmaquant-edge\[onnx\]"):
        sq.capture(resnet)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look absent to modules that are imported from now on."""
    import sys

    def hide(package: str) -> None:
        for name in list(sys.modules):
            if name.startswith("sigmaquant.network.onnx"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.fixture(scope="module")
def two_ports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose inputs and outputs have names that Python could not give."""
    nodes = [
        node("Conv", "images:0 w b", "c", "stem", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("ReduceMean", "r", "m", axes=[2, 3], keepdims=0),
        node("Concat", "m extra", "j", axis=1),
        node("Gemm", "j v", "head/scores:0", "scores"),
        node("Gemm", "j u", "box", "box"),
    ]
    constants = {"w": floats(4, 3, 3, 3), "b": floats(4), "v": floats(6, 3), "u": floats(6, 2)}
    inputs: dict[str, list[int | str | None]] = {"images:0": ["B", 3, 8, 8], "extra": ["B", 2]}
    proto = model(nodes, inputs, constants, outputs="head/scores:0 box")
    return saved(proto, tmp_path_factory.mktemp("ports"))


def test_names_of_inputs_and_outputs_stay_through_the_whole_road(
    two_ports: Path, tmp_path: Path
) -> None:
    sq.capture(two_ports).save(tmp_path / "network.pt2")
    network = sq.Network.load(tmp_path / "network.pt2")
    assert network.digest() == sq.capture(two_ports).digest()
    calibration = [(torch.rand(8, *SHAPE), torch.rand(8, 2)) for _ in range(3)]
    quantized = sq.quantize(network, sq.BitPlan.uniform(network.table, 5), calibration)
    sq.export(quantized, tmp_path / "packed.onnx")
    packed = onnx.load(tmp_path / "packed.onnx")
    onnx.checker.check_model(packed, full_check=True)
    assert [port.name for port in packed.graph.input] == ["images:0", "extra"]
    assert [port.name for port in packed.graph.output] == ["head/scores:0", "box"]
    for port in (*packed.graph.input, *packed.graph.output):
        assert port.type.tensor_type.shape.dim[0].dim_param == "N"
    x, extra = floats(5, *SHAPE, low=0.0), floats(5, 2, low=0.0)
    found = runtime(packed)({"images:0": x, "extra": extra})
    expected = runtime(onnx.load(two_ports))({"images:0": x, "extra": extra})
    for a, b in zip(found, expected, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


def test_training_without_labels_follows_the_float_network(tmp_path: Path) -> None:
    samples = nets.samples("mlp", 64)
    network = sq.capture(_exported(nets.model("mlp"), tuple(samples), tmp_path / "net.onnx"))
    loader = [tuple(x[start : start + 16] for x in samples) for start in range(0, 64, 16)]
    plan = sq.BitPlan.uniform(network.table, 2)
    rounded = sq.quantize(network, plan, loader)
    tuned = sq.finetune(network, plan, loader, epochs=5, calibration=loader, learning_rate=0.01)
    with torch.no_grad():
        expected = network(*samples)
        losses = [
            float(divergence(expected, (each(*samples),)).mean()) for each in (rounded, tuned)
        ]
    assert losses[1] < losses[0]
