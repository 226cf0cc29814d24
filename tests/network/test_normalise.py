from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sigmaquant.network import capture
from sigmaquant.network.normalise import arguments_of, tensor_of
from tests import nets

aten = torch.ops.aten


def targets(name: str) -> list[Any]:
    return [n.target for n in nets.captured(name).module.graph.nodes if n.op == "call_function"]


@pytest.mark.parametrize("name", ["mlp", "resnet", "mobilenet", "conv1d", "same_padding"])
def test_every_batch_norm_behind_a_layer_is_folded(name: str) -> None:
    assert not any("batch_norm" in str(target) for target in targets(name))


@pytest.mark.parametrize(
    ("layer", "norm", "affine"), [("conv", "norm", False), ("depthwise", "norm2", True)]
)
def test_folding_follows_the_formula(layer: str, norm: str, affine: bool) -> None:
    model = nets.model("norms")
    conv, bn = model.get_submodule(layer).double(), model.get_submodule(norm).double()
    factor = 1 / torch.sqrt(bn.running_var + bn.eps)
    bias = (conv.bias - bn.running_mean) * factor
    if affine:
        factor, bias = factor * bn.weight, bias * bn.weight + bn.bias
    module = nets.captured("norms").module
    weight = conv.weight * factor.reshape(-1, 1, 1, 1)
    assert torch.equal(tensor_of(module, f"{layer}.weight"), weight.float())
    assert torch.equal(tensor_of(module, f"{layer}.bias"), bias.float())


def test_a_batch_norm_that_cannot_fold_stays_as_one_float_operator() -> None:
    table = nets.captured("norms").table
    assert table.float_operators == ("alone (batch_norm.default)",)
    assert table.float_parameters == 4 * 8


class DotProducts(nn.Module):
    """Attention as one operator: with its own scale, and with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = [layer(x) for layer in (self.q, self.k, self.v)]
        attend = nn.functional.scaled_dot_product_attention
        return self.out(attend(*parts, scale=0.3)), self.out(attend(*parts, is_causal=True))


def test_attention_is_written_out_where_it_has_no_mask() -> None:
    model, x = DotProducts().eval(), torch.randn(4, 5, 6)
    network = capture(model, x)
    for got, wanted in zip(network(x), model(x), strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-6)
    written = [n.target for n in network.module.graph.nodes if n.op == "call_function"]
    assert written.count(aten.matmul.default) == 2
    assert written.count(aten.scaled_dot_product_attention.default) == 1
    assert network.table.float_operators == (
        "softmax (softmax.int)",
        "scaled_dot_product_attention (scaled_dot_product_attention.default)",
    )


class ReadTwice(nn.Module):
    """The convolution is read beside its batch norm, so that folding would change the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)


class SharedWeight(nn.Module):
    """One weight before two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm1 = nn.BatchNorm2d(4)
        self.norm2 = nn.BatchNorm2d(4)
        self.norm2.running_mean.fill_(0.5)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm1(self.conv(x)) + self.norm2(self.conv(x + 1))


class SharedBias(nn.Module):
    """The bias of a folded layer belongs to another layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.5)  # type: ignore[union-attr]
        self.b = nn.Conv2d(4, 4, 3)
        self.b.bias = self.a.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.norm(self.a(x)))


class OverTokens(nn.Module):
    """Behind a linear layer over (batch, tokens, features) a batch norm scales the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(3)
        self.norm.running_var.fill_(0.3)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x.flatten(2).flatten(2)))


@pytest.mark.parametrize("make", [ReadTwice, SharedWeight, SharedBias, OverTokens])
def test_folding_never_changes_the_function(make: type[nn.Module]) -> None:
    model = make().eval()
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    x = x if make is OverTokens else x[..., None].expand(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(capture(model, x)(x)[0], model(x), rtol=0, atol=1e-6)


def test_every_layer_has_a_bias_of_its_own() -> None:
    module = nets.captured("functional").module
    names = {
        str(arguments_of(node)[2].target)
        for node in module.graph.nodes
        if node.target in (aten.conv2d.default, aten.linear.default)
    }
    assert names == {"first_bias", "second_bias", "third_bias"}
    assert [tensor_of(module, name).shape for name in sorted(names)] == [(6,), (8,), (4,)]


def test_same_padding_becomes_numbers() -> None:
    captured = nets.captured("same_padding")
    assert aten.conv2d.padding not in targets("same_padding")
    pads = [captured.places[node] for node in captured.encodings.absorbed]
    # The pad of the even kernel lies inside the layer's module, and the layer keeps its name.
    assert pads == ["even.pad"]
    # It costs neither a step nor memory: the convolution reads zeros where the input ends.
    first, second = captured.table.steps[:2]
    assert [step.operator for step in (first, second)] == ["conv", "conv"]
    assert (first.name, first.live, second.name) == ("even", ("x", "even"), "odd")
