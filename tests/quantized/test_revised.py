"""A trained network under a plan next to its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sigmaquant.bitplan import BitPlan
from sigmaquant.divergence import divergence
from sigmaquant.errors import ArtifactError
from sigmaquant.lowering import lower
from sigmaquant.network import Network, capture
from sigmaquant.quantized import ROUNDINGS, PlanQuantizer, QuantizedNetwork, quantize
from sigmaquant.quantizers import level_bounds
from tests import nets


def trained(name: str, bits: int = 3) -> QuantizedNetwork:
    """As if training had moved every parameter and step a little."""
    tuned, generator = nets.quantized(name, bits), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter *= 1 + 0.05 * torch.rand(parameter.shape, generator=generator)
    return tuned


def revised(tuned: QuantizedNetwork, name: str, plan: BitPlan, rounding: str) -> QuantizedNetwork:
    return PlanQuantizer(tuned.network, nets.loader(name), rounding).revised(tuned, plan)


def changed_entries(one: QuantizedNetwork, other: QuantizedNetwork) -> set[str]:
    states = one.state(), other.state()
    assert states[0].keys() == states[1].keys()
    return {name for name, value in states[0].items() if not torch.equal(value, states[1][name])}


def loss(name: str, quantized: QuantizedNetwork) -> float:
    with torch.no_grad():
        parts = [
            divergence(quantized.network(*x), nets.flat(quantized(*x))).mean()
            for x in nets.loader(name)
        ]
    return float(sum(parts))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_what_keeps_its_width_stays_as_it_was_trained(rounding: str) -> None:
    tuned = trained("resnet")
    before = tuned.state()
    plan = tuned.plan.with_weight_bits({"layer1.0.conv2": 8, "fc": 2})
    found = revised(tuned, "resnet", plan, rounding)
    assert changed_entries(found, tuned) == {
        f"{layer}.{name}" for layer in ("layer1.0.conv2", "fc") for name in ("weight", "bias")
    } | {f"weight_quantizers.{layer}.scale" for layer in ("layer1/0/conv2", "fc")}
    for layer in ("layer1.0.conv2", "fc"):
        levels = found.weight_quantizer(layer).levels(found.weight(layer))
        low, high = level_bounds(plan.weight_bits[layer])
        assert low <= int(levels.min()) <= int(levels.max()) <= high
    assert found.plan == plan
    assert all(torch.equal(value, before[name]) for name, value in tuned.state().items())
    lower(found)


@pytest.mark.parametrize("name", ["resnet", "norms", "attention", "tied"])
def test_the_same_plan_gives_the_same_network(name: str) -> None:
    tuned = trained(name)
    found = revised(tuned, name, tuned.plan, "compensated")
    assert found is not tuned
    assert changed_entries(found, tuned) == set()


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "concat", "tied", "attention", "norms"])
def test_behind_layers_that_are_as_rounded_it_rounds_as_quantize_does(name: str) -> None:
    network, untrained = nets.captured(name), nets.quantized(name, 3)
    last = list(network.layer_nodes())[-1]
    plan = untrained.plan.with_weight_bits({last: 4})
    whole = quantize(network, plan, nets.loader(name))
    assert changed_entries(revised(untrained, name, plan, "compensated"), whole) == set()


def test_a_layer_is_rounded_for_what_the_trained_layers_give_it() -> None:
    tuned, untrained = trained("resnet", 8), nets.quantized("resnet", 8)
    plan = tuned.plan.with_weight_bits({"fc": 3})
    found, elsewhere = (revised(each, "resnet", plan, "compensated") for each in (tuned, untrained))
    own = {name: value for name, value in elsewhere.state().items() if "fc" in name.split(".")}
    transplanted = found.copy()
    transplanted.restore({**found.state(), **own})
    assert len(own) == 3
    assert loss("resnet", found) < loss("resnet", transplanted)


def test_groups_get_ranges_of_their_new_width() -> None:
    tuned = trained("mlp", 4)
    group = tuned.network.table.groups[-1]
    widths = {**tuned.plan.activation_bits, group: 4}
    plan = tuned.plan.model_copy(update={"activation_bits": widths})
    found = revised(tuned, "mlp", plan, "compensated")
    encoding = found.activation_quantizer(group).encoding()
    assert encoding.bits == 4
    assert encoding.scale > 4 * tuned.activation_quantizer(group).encoding().scale
    entries = {name for name in changed_entries(found, tuned) if "activation" in name}
    assert entries <= {f"activation_quantizers.{group}.{x}" for x in ("scale", "zero_point")}


class SharedBias(nn.Module):
    """Two layers, each with a weight of its own and one bias together."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.bias = self.a.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x).relu())
        return out


def test_a_bias_that_another_layer_reads_stays() -> None:
    torch.manual_seed(0)
    data = [torch.randn(16, 6)]
    network: Network = capture(SharedBias().eval(), data[0])
    tuned = quantize(network, BitPlan.uniform(network.table, 3), data)
    plan = tuned.plan.with_weight_bits({"b": 5})
    found = PlanQuantizer(network, data, "compensated").revised(tuned, plan)
    assert changed_entries(found, tuned) == {"b.weight", "weight_quantizers.b.scale"}


def test_a_plan_of_another_network_is_refused() -> None:
    tuned = trained("mlp")
    with pytest.raises(ArtifactError, match="does not cover"):
        revised(tuned, "mlp", BitPlan.uniform(nets.captured("resnet").table, 4), "nearest")
