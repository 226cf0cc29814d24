"""Transposed convolutions as plain ones: equal values, names of the user, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile
from sigmaquant.network import Network, capture
from sigmaquant.network.normalise import tensor_of
from sigmaquant.network.transposed import SpreadDimension, plain_weight
from tests import nets


def run(network: Network, x: Tensor) -> Tensor:
    (result,) = network(x)
    return result


@st.composite
def dimensions(draw: st.DrawFn) -> SpreadDimension:
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    dimension = SpreadDimension(
        size=draw(st.integers(1, 5)),
        kernel=draw(st.integers(1, 4)),
        stride=stride,
        padding=draw(st.integers(0, 3)),
        output_padding=draw(st.integers(0, max(stride, dilation) - 1)),
        dilation=dilation,
    )
    assume(dimension.outputs > 0)
    return dimension


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    sides=st.lists(dimensions(), min_size=1, max_size=2),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_any_transposed_convolution_is_a_layer_of_equal_output(
    sides: list[SpreadDimension], groups: int, bias: bool
) -> None:
    module = (nn.ConvTranspose1d, nn.ConvTranspose2d)[len(sides) - 1]
    kernel, stride, padding, extra, dilation = zip(
        *((s.kernel, s.stride, s.padding, s.output_padding, s.dilation) for s in sides),
        strict=True,
    )
    model = module(4, 8, kernel, stride, padding, extra, groups, bias, dilation)
    x = torch.randn(3, 4, *(side.size for side in sides))
    network = capture(model, x[:2])
    assert torch.allclose(run(network, x), model(x), rtol=0, atol=1e-5)
    (layer,) = network.table.layers
    assert network.table.float_operators == ()
    assert layer.weight_shape == (8, 4 // groups, *kernel)
    assert layer.executed_macs == layer.outputs * layer.kernel_elements
    assert layer.macs <= layer.executed_macs


@settings(max_examples=60, deadline=None, derandomize=True)
@given(dimensions())
def test_taps_are_counted_where_values_or_padding_are(side: SpreadDimension) -> None:
    """Against marks on a line: the values' grid goes on through the padding."""
    first, last = side.sides
    marks = torch.zeros(first % side.stride + side.stride * 40)
    marks[first % side.stride :: side.stride] = 1
    line = marks[: first + side.size * side.stride + last]
    windows = F.conv1d(line[None, None], torch.ones(1, 1, side.kernel), dilation=side.dilation)
    assert windows.numel() == side.outputs
    assert side.value_taps == int(windows.sum())


def test_a_weight_is_flipped_and_its_channels_swapped_within_groups() -> None:
    weight = torch.arange(4 * 1 * 3).reshape(4, 1, 3)
    plain = plain_weight(weight, 2)
    assert plain.shape == (2, 2, 3)
    assert plain.tolist() == [[[2, 1, 0], [5, 4, 3]], [[8, 7, 6], [11, 10, 9]]]


def test_macs_leave_out_the_zeros_and_costs_do_not() -> None:
    table = nets.captured("decoder").table
    macs = {layer.name: (layer.macs, layer.zero_macs) for layer in table.layers}
    # 4 x 4 outputs of 4 channels, a quarter of 8 x 3 x 3 multiplications meets values.
    assert macs["up"] == (16 * 4 * 8 * 9 // 4, 16 * 4 * 8 * 9 * 3 // 4)
    assert macs["grouped"] == (64 * 6 * 4 * 16 // 4, 64 * 6 * 4 * 16 * 3 // 4)
    assert macs["out"] == (64 * 2 * 6 * 9, 0)
    assert table.macs == sum(own for own, _ in macs.values())
    profile = load_profile("cortex-m4")
    spread = table.layer("up")
    plain = spread.model_copy(update={"macs": spread.executed_macs, "zero_macs": 0})
    same = [plain if layer is spread else layer for layer in table.layers]
    costs = [
        cost_table(each, profile).totals(BitPlan.uniform(table, 4))
        for each in (table, table.model_copy(update={"layers": tuple(same)}))
    ]
    assert costs[0] == costs[1]


def test_a_batch_norm_behind_one_is_folded() -> None:
    module = nets.captured("decoder").module
    assert not any("batch_norm" in str(node.target) for node in module.graph.nodes)
    original = nets.model("decoder")
    up, norm = original.get_submodule("up"), original.get_submodule("norm")
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = plain_weight(up.weight, 1) * factor.reshape(-1, 1, 1, 1)
    assert torch.allclose(tensor_of(module, "up.weight"), folded)


class Normalised(nn.Module):
    """A weight that is computed from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.utils.parametrizations.weight_norm(nn.ConvTranspose2d(3, 4, 2, 2), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


def test_a_normalised_weight_is_the_layers_own() -> None:
    model, x = Normalised(), torch.randn(2, 3, 4, 4)
    network = capture(model, x)
    assert [layer.name for layer in network.table.layers] == ["up"]
    assert torch.allclose(run(network, x), model(x), rtol=0, atol=1e-5)


class Tied(nn.Module):
    """An encoder and a decoder with one weight: their channels have different places in it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(F.relu(self.down(x)), self.down.weight, stride=2)


class Computed(nn.Module):
    """A kernel that depends on the input, and one for volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Linear(4, 4)
        self.volume = nn.ConvTranspose3d(1, 1, 2)
        self.out = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kernel = self.kernel(x.mean((0, 2, 3))).reshape(4, 1, 1, 1)
        return self.out(F.conv_transpose2d(x, kernel)), self.volume(x[:, None])


class TwoGroupings(nn.Module):
    """One weight read with two numbers of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2, 1, 1))
        self.out = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        several = [F.conv_transpose2d(x, self.weight, groups=groups) for groups in (1, 2)]
        return self.out(torch.cat(several, dim=1))


@pytest.mark.parametrize(
    ("model", "shape", "operators"),
    [
        (Tied(), (2, 3, 4, 4), {"conv_transpose2d"}),
        (Computed(), (2, 4, 4, 4), {"conv_transpose2d", "conv_transpose3d"}),
        (TwoGroupings(), (2, 4, 4, 4), {"conv_transpose2d"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_what_has_no_weight_of_its_own_stays_float_and_is_listed(
    model: nn.Module, shape: tuple[int, ...], operators: set[str]
) -> None:
    x = torch.randn(*shape)
    network = capture(model.eval(), x)
    for got, wanted in zip(network(x), nets.flat(model(x)), strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-5)
    listed = "; ".join(network.table.float_operators)
    assert all(operator in listed for operator in operators), listed
