"""Networks through prepare_pt2e and convert_pt2e, beside our own fake quantization."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional as F

pytest.importorskip("torchao")

from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import MissingExtraError, ModelError, UnsupportedError
from sigmaquant.integrations.torchao import PlanQuantizer, pt2e_module
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork, quantize
from tests import nets

TRAINING_SAMPLES = 1200
STEPS = 400
DEQUANTIZE_WEIGHT = torch.ops.quantized_decomposed.dequantize_per_channel.default


def converted(quantized: QuantizedNetwork, *inputs: Tensor) -> GraphModule:
    prepared = prepare_pt2e(pt2e_module(quantized), PlanQuantizer(quantized))
    prepared(*inputs)
    return convert_pt2e(prepared)


class SmallDigitNet(nn.Module):
    """A residual block of depthwise and 1 x 1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.deep = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.pointwise(F.relu(self.depthwise(x))))
        return self.classifier(F.max_pool2d(self.deep(x), 2).mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> tuple[Network, Tensor, Tensor]:
    """The network, trained on scikit-learn's digits for some seconds; images and labels."""
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    classes = torch.tensor(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallDigitNet().train()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            rows = torch.randint(TRAINING_SAMPLES, (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), classes[rows]).backward()
            optimizer.step()
            schedule.step()
    return capture(model.eval(), images[:2]), images, classes


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (4, 4)])
def test_a_trained_network_computes_what_our_fake_quantization_computes(
    digits: tuple[Network, Tensor, Tensor], weight_bits: int, activation_bits: int
) -> None:
    """Where x / s and x * (1 / s) round apart a value moves by a step: 1 image in 100 at most."""
    network, images, classes = digits
    plan = BitPlan.uniform(network.table, weight_bits, activation_bits)
    quantized = quantize(network, plan, [images[:256]])
    test, labels = images[TRAINING_SAMPLES:], classes[TRAINING_SAMPLES:]
    with torch.no_grad():
        expected, actual = quantized(test), converted(quantized, test[:4])(test)
    difference = (actual - expected).abs()
    assert float((difference > 1e-5).any(1).float().mean()) <= 0.01
    assert float((actual.argmax(1) == labels).float().mean()) > 0.9


@pytest.mark.parametrize(
    "name", ["mlp", "resnet", "mobilenet", "shuffle", "attention", "conv1d", "multi_output"]
)
def test_other_networks(name: str) -> None:
    quantized = nets.quantized(name, 5)
    inputs = nets.samples(name)
    with torch.no_grad():
        expected, actual = quantized(*inputs), converted(quantized, *inputs)(*inputs)
    for ours, theirs in zip(nets.flat(expected), nets.flat(actual), strict=True):
        assert (theirs - ours).abs().max() <= 1e-5 * ours.abs().max()


def test_the_integers_are_those_of_the_record() -> None:
    quantized = nets.quantized("resnet", 3)
    module = converted(quantized, *nets.samples("resnet"))
    stored = {
        node.args[0].target: node.args
        for node in module.graph.nodes
        if node.target is DEQUANTIZE_WEIGHT
    }
    found = [getattr(module, name).flatten().tolist() for name in stored]
    expected = [weights.values.flatten().tolist() for weights in lower(quantized).weights]
    assert sorted(found) == sorted(expected)
    assert {(args[4], args[5]) for args in stored.values()} == {(-4, 3)}


def test_the_result_can_be_exported() -> None:
    inputs = nets.samples("mlp")
    module = converted(nets.quantized("mlp", 4), *inputs)
    program = torch.export.export(module, inputs)
    assert torch.equal(program.module()(*inputs), module(*inputs))


def test_another_graph_is_refused() -> None:
    quantizer = PlanQuantizer(nets.quantized("resnet", 4))
    with pytest.raises(ModelError, match=r"the graph has no node 'relu_1'.*what pt2e_module gives"):
        prepare_pt2e(pt2e_module(nets.quantized("mlp", 4)), quantizer)


def test_activations_of_16_bits_are_refused() -> None:
    network = nets.captured("mlp")
    plan = BitPlan.uniform(network.table, 8, activation_bits=16)
    with pytest.raises(UnsupportedError, match=r"activations 'x' have 16 bits; int8"):
        PlanQuantizer(QuantizedNetwork.unfitted(network, plan))


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sigmaquant.integrations.torchao")
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sigmaquant-edge\[torchao\]'"):
        import sigmaquant.integrations.torchao  # noqa: F401
