from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.bitplan import BitPlan
from sigmaquant.divergence import divergence
from sigmaquant.errors import ConfigError, DataError, UnsupportedError
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.operators import CONVOLUTIONS
from sigmaquant.quantized import ROUNDINGS, QuantizedNetwork, quantize
from tests import nets


def calibration(name: str) -> list[tuple[Tensor, ...]]:
    return nets.loader(name)


def distance(name: str, quantized: QuantizedNetwork) -> float:
    """Mean divergence from the float network on the calibration data."""
    network = nets.captured(name)
    total = 0.0
    with torch.no_grad():
        for inputs in calibration(name):
            outputs = nets.flat(quantized(*inputs))
            total += float(divergence(network(*inputs), outputs).mean())
    return total / len(calibration(name))


@pytest.mark.parametrize("name", nets.CASES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_eight_bits_are_close_to_float(name: str, rounding: str) -> None:
    assert distance(name, nets.quantized(name, 8, rounding)) < 2e-3


@pytest.mark.parametrize("name", ["mlp", "resnet", "mobilenet", "conv1d", "attention", "shuffle"])
def test_fewer_bits_lose_more(name: str) -> None:
    losses = [distance(name, nets.quantized(name, bits)) for bits in (2, 4, 8)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_the_same_data_give_the_same_network(rounding: str) -> None:
    states = [nets.quantized("resnet", 3, rounding).state() for _ in range(2)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])


def test_trainable_weights_start_in_the_middle_of_their_levels() -> None:
    quantized = nets.quantized("resnet", 3)
    for layer in nets.captured("resnet").table.layers:
        quantizer, weight = quantized.weight_quantizer(layer.name), quantized.weight(layer.name)
        real = quantizer.levels(weight) * quantizer.safe_scale()
        assert torch.allclose(real, weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "conv1d", "attention", "tied"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_no_layer_is_off_on_average(name: str, rounding: str) -> None:
    """Every layer's outputs, before they are rounded, have the float network's mean."""
    network, quantized = nets.captured(name), nets.quantized(name, 2, rounding)
    errors = mean_errors(network, quantized, calibration(name))
    # Both calls of this layer have one bias, which is corrected for the first.
    errors.pop("twice_2", None)
    for layer, error in errors.items():
        assert float(error.abs().max()) < 2e-5, layer


def mean_errors(
    network: Network, quantized: QuantizedNetwork, data: list[tuple[Tensor, ...]]
) -> dict[str, Tensor]:
    """(out,) mean error of each call, which reads the quantized network's own inputs."""
    by_name = {node.name: place for node, place in network.places.items()}
    seen: list[dict[str, Tensor]] = [{}, {}]
    graphs = (network.module, quantized.graph_module)
    for values_of, module in zip(seen, graphs, strict=True):
        for inputs in data:
            interpreter = Recorder(module)
            with torch.no_grad():
                interpreter.run(*inputs)
            for name, value in interpreter.outputs.items():
                place = by_name[name]
                before = values_of.get(place)
                values_of[place] = value if before is None else torch.cat((before, value))
    return {
        place: over_all_but_channels(seen[1][place] - seen[0][place], network, place)
        for place in seen[0]
    }


def over_all_but_channels(error: Tensor, network: Network, place: str) -> Tensor:
    (node,) = (n for n, p in network.places.items() if p == place)
    channel = 1 if node.target in CONVOLUTIONS else -1
    return error.movedim(channel, 0).flatten(1).mean(1)


class Recorder(torch.fx.Interpreter):
    """Keeps what the layers' own calls give."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.outputs: dict[str, Tensor] = {}

    def run_node(self, n: torch.fx.Node) -> object:
        value = super().run_node(n)
        if n.op == "call_function" and ("conv" in str(n.target) or "linear" in str(n.target)):
            self.outputs[n.name] = value
        return value


def trained_digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A small perceptron on scikit-learn's digits, trained for a second."""
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU())
        model.append(nn.Linear(24, 10))
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(150):
            rows = torch.randperm(1200, generator=torch.Generator().manual_seed(step))[:128]
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval(), x, y


def test_compensation_beats_nearest_on_a_trained_network() -> None:
    model, x, y = trained_digits()
    network = capture(model, x[:2])
    losses, accuracies = {}, []
    for rounding in ROUNDINGS:
        plan = BitPlan.uniform(network.table, 3)
        quantized = quantize(network, plan, [x[:256]], rounding=rounding)
        with torch.no_grad():
            outputs = quantized(x[1200:])
            losses[rounding] = float(divergence(network(x[1200:]), (outputs,)).mean())
            accuracies.append(float((outputs.argmax(1) == y[1200:]).float().mean()))
    assert min(accuracies) > 0.8
    assert losses["compensated"] < 0.7 * losses["nearest"]


class SwitchedOff(nn.Module):
    """A channel that training has switched off: nothing but its bias is left."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv.weight.data[1] = 0
        self.conv.weight.data[2] = 1e-12
        self.conv.bias.data[1:3] = 0.75  # type: ignore[index, union-attr]
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_bias_fits_int32_even_where_the_weights_are_nothing(rounding: str) -> None:
    network = capture(SwitchedOff().eval(), torch.ones(2, 3, 6, 6))
    data = [(torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)),)]
    quantized = quantize(network, BitPlan.uniform(network.table, 4), data, rounding=rounding)
    scales = quantized.weight_quantizer("conv").safe_scale().flatten()
    step = quantized.activation_quantizer("x").encoding().scale * scales
    assert bool((quantized.bias("conv").abs() / step < 2**31).all())
    with torch.no_grad():
        assert torch.allclose(quantized(*data[0]), network(*data[0])[0], atol=0.05)


def test_scales_that_training_made_too_small_are_raised() -> None:
    network = capture(SwitchedOff().eval(), torch.ones(2, 3, 6, 6))
    data = [(torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)),)]
    quantized = quantize(network, BitPlan.uniform(network.table, 4), data)
    kept = quantized.weight_quantizer("out").scale.detach().clone()
    quantized.weight_quantizer("conv").scale.data.fill_(-1e-9)
    with pytest.raises(UnsupportedError, match="conv: the accumulator"):
        lower(quantized)
    quantized.raise_scales()
    lower(quantized)
    assert torch.equal(quantized.weight_quantizer("out").scale, kept)


def test_layers_with_one_weight_are_corrected_each_in_its_own_bias() -> None:
    network, quantized = nets.captured("tied"), nets.quantized("tied", 2)
    first, second = network.layer_nodes()["twice"]
    assert arguments_of(first)[2] is arguments_of(second)[2]
    biases = [quantized.bias(network.table.layers[0].name, index) for index in (0, 1)]
    before = [getattr(nets.model("tied"), name).bias for name in ("a", "b")]
    assert not torch.allclose(biases[0], before[0], atol=1e-4)
    assert not torch.allclose(biases[1], before[1], atol=1e-4)


def test_errors() -> None:
    network = nets.captured("mlp")
    plan = BitPlan.uniform(network.table, 4)
    with pytest.raises(ConfigError, match="unknown rounding 'up'; known: compensated, nearest"):
        quantize(network, plan, nets.loader("mlp"), rounding="up")
    with pytest.raises(DataError, match="gave no samples"):
        quantize(network, plan, [])


def test_the_float_network_is_not_changed() -> None:
    network = nets.captured("resnet")
    digest = network.digest()
    nets.quantized("resnet", 2)
    assert network.digest() == digest
