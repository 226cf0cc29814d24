"""A real network, CIFAR's ResNet-20, through both exporters of torch and back."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigmaquant.network import capture
from sigmaquant.network.onnx import load_onnx
from tests import nets
from tests.network.onnx_models import assert_same, floats, module_outputs, runtime

IMAGE = (3, 32, 32)
DYNAMO = [False, *([True] if find_spec("onnxscript") else [])]
"""The exporter on torch.export needs a package that nothing else here does."""

LAYER_NAMES = (
    "conv1",
    *(f"layer{i}.{j}.conv{k}" for i in (1, 2, 3) for j in (0, 1, 2) for k in (1, 2)),
    "fc",
)


class ResNet20(nn.Module):
    """Three stages of three blocks, 0.27 M weights (He et al. 2016, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16)
        self.layer2 = self._stage(16, 32)
        self.layer3 = self._stage(32, 64)
        self.fc = nn.Linear(64, 10)

    @staticmethod
    def _stage(channels_in: int, channels: int) -> nn.Sequential:
        first = nets.OptionABlock(channels_in, channels, channels // channels_in)
        return nn.Sequential(first, *(nets.OptionABlock(channels, channels, 1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def resnet20() -> nn.Module:
    """Trained for two steps, so that no batch norm is trivial."""
    torch.manual_seed(0)
    network = ResNet20()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        x = torch.rand(8, *IMAGE)
        optimizer.zero_grad()
        functional.cross_entropy(network(x), torch.randint(10, (8,))).backward()
        optimizer.step()
    return network.eval()


def _exported(network: nn.Module, path: Path, *, dynamo: bool) -> Path:
    batch = (
        {"dynamic_shapes": ({0: torch.export.Dim("N")},)}
        if dynamo
        else {"dynamic_axes": {"image": {0: "N"}}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, *IMAGE),),
            path,
            dynamo=dynamo,
            input_names=["image"],
            output_names=["scores"],
            **batch,
        )
    return path


def test_the_network_is_that_of_the_paper(resnet20: nn.Module) -> None:
    assert sum(p.numel() for p in resnet20.parameters()) == 269_722


@pytest.mark.parametrize("dynamo", DYNAMO)
def test_it_is_read_as_it_was(resnet20: nn.Module, dynamo: bool, tmp_path: Path) -> None:
    path = _exported(resnet20, tmp_path / "resnet20.onnx", dynamo=dynamo)
    x = floats(3, *IMAGE, low=0.0)
    expected = runtime(onnx.load(path))({"image": x})
    assert_same(expected, module_outputs(resnet20, [x]))
    assert_same(module_outputs(load_onnx(path), [x]), expected)
    network = capture(path)
    assert_same([network(torch.from_numpy(x))[0].numpy()], expected)
    assert tuple(layer.name for layer in network.table.layers) == LAYER_NAMES
    assert network.table.float_operators == ()
    assert network.batch_size is None
    assert not any("batch_norm" in str(node.target) for node in network.runner().nodes)
