from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.network import Network, capture
from sigmaquant.network.operators import Role
from tests import nets


def groups(network: Network) -> dict[str, str]:
    """Precision group of every quantized value, by place."""
    parts = network.encodings
    return {network.places[node]: group for node, group in parts.groups.items()}


def role(name: str, place: str) -> Role:
    network = nets.captured(name)
    (found,) = (n for n, p in network.places.items() if p == place)
    return network.encodings.roles[found]


def test_inputs_of_a_concat_share_a_group() -> None:
    # The max pool hands on the encoding of the image, and so the image takes part.
    found = groups(nets.captured("concat"))
    assert {found[place] for place in ("x", "relu", "b", "pool", "cat")} == {"x"}
    assert found["head"] == "head"
    assert found["mean"] == "mean"


def test_pads_slices_reshapes_and_pools_keep_their_inputs_group() -> None:
    found = groups(nets.captured("resnet"))
    shortcut = ("layer1.0.relu_2", "layer2.0.slice", "layer2.0.slice_2", "layer2.0.pad")
    assert {found[place] for place in shortcut} == {"layer1.0.relu_2"}
    assert found["avg_pool2d"] == found["reshape"] == "avg_pool2d"
    assert len(set(found.values())) == 9
    pooled = groups(nets.captured("softmax"))
    assert pooled["relu"] == pooled["max_pool2d"] == pooled["reshape"]


def test_layers_that_read_one_tensor_share_its_group() -> None:
    table = nets.captured("concat").table
    assert table.layer("a").input_groups == table.layer("b").input_groups == ("x",)
    table = nets.captured("multi_output").table
    assert table.layer("mask").input_groups == ("relu",)


def test_a_relu_of_its_own_shares_the_sums_group() -> None:
    found = groups(nets.captured("pre_activation"))
    assert found["add"] == found["relu_2"] == "add"
    assert found["a"] == found["relu"] == "a"


def test_a_relu_right_behind_is_fused() -> None:
    network = nets.captured("pre_activation")
    parts = network.encodings
    fused = {network.places[a]: network.places[b] for a, b in parts.fused.items()}
    assert fused == {"add_2": "relu_3"}


def test_rival_sums_are_one_group() -> None:
    parts = nets.captured("pyramid").encodings
    assert parts.sum_groups == {
        ("a", "relu_2"),
        ("b", "relu_2"),
        ("c", "relu_2"),
        ("up", "add_3"),
        ("down", "add_3"),
    }
    found = groups(nets.captured("pyramid"))
    assert found["relu_2"] == found["add_2"]


def test_every_summand_belongs_to_one_sum_and_never_in_a_circle() -> None:
    for name in nets.CASES:
        pairs = nets.captured(name).encodings.sum_groups
        above = dict(pairs)
        assert len(above) == len(pairs), name
        for start in above:
            seen, group = set(), start
            while group in above:
                assert group not in seen, name
                seen.add(group)
                group = above[group]


class Circle(nn.Module):
    """Two groups, made by two concats, each of which is summed into the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 2, 1)
        self.b = nn.Conv2d(2, 2, 1)
        self.c = nn.Conv2d(4, 3, 1)
        self.d = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        into_b = a + x
        left = torch.cat((b, into_b), 1)
        right = torch.cat((a, b + x), 1)
        return self.c(left).mean((2, 3)) + self.d(right).mean((2, 3))


def test_sums_in_a_circle_are_tied() -> None:
    found = groups(capture(Circle(), torch.ones(2, 2, 4, 4)))
    assert found["a"] == found["b"] == found["cat"] == found["cat_2"]
    assert len({found[place] for place in ("a", "x", "c", "d")}) == 4


def test_unknown_operators_stay_float_between_quantized_values() -> None:
    network = nets.captured("unknown")
    assert network.table.float_operators == ("cumsum (cumsum.default)",)
    found = groups(network)
    assert found["cumsum"] == "cumsum"  # it feeds a layer, so its result is quantized
    assert nets.captured("softmax").table.float_operators == ("softmax (softmax.int)",)
    assert "softmax" not in groups(nets.captured("softmax"))


def test_a_linear_head_hands_on_its_accumulators_as_float() -> None:
    for name in ("mlp", "resnet", "softmax"):
        assert nets.captured(name).table.layers[-1].output_group is None
    assert nets.captured("multi_output").table.layer("mask").output_group == "mask"


def test_operators_between_float_operators_are_not_quantized() -> None:
    network = nets.captured("attention")
    operators = {name.split(" ")[1].strip("()") for name in network.table.float_operators}
    assert operators == {"layer_norm.default", "softmax.int", "add.Tensor", "mean.dim"}
    # The residual sums are read by layer norms only, but the GELU lies between two layers.
    assert role("attention", "add") is Role.FLOAT
    assert role("attention", "mlp.1") is Role.LOOKUP


def test_products_of_two_activations_take_and_give_integers() -> None:
    found = groups(nets.captured("attention"))
    assert role("attention", "matmul") is role("attention", "matmul_2") is Role.MATMUL
    assert {"matmul", "softmax", "matmul_2"} <= set(found.values())
    # Queries are moved, not computed anew, before they are multiplied.
    assert found["transpose"] == found["q"] == "q"


class Products(nn.Module):
    """With a parameter, with a repeated batch, too long for int32, and of few values."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.out = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        long = x @ x.transpose(1, 2)
        repeated = x[:, :, :2].reshape(-1, 1, 2, 2) @ x[:, None, :, :3].expand(-1, 3, -1, -1)
        return self.out(torch.bmm(long, long + 1)), self.weight @ x, repeated


def test_products_that_integers_cannot_hold_stay_float() -> None:
    network = capture(Products(), torch.ones(2, 2, 33_026))
    roles = {network.places[n]: r for n, r in network.encodings.roles.items()}
    products = {place: r for place, r in roles.items() if "mm" in place or "matmul" in place}
    assert products == {
        "matmul": Role.FLOAT,
        "matmul_2": Role.FLOAT,
        "matmul_3": Role.FLOAT,
        "bmm": Role.MATMUL,
    }


def test_functions_of_one_value_are_lookups() -> None:
    network = nets.captured("activations")
    assert network.table.float_operators == ()
    lookups = [n for n, r in network.encodings.roles.items() if r is Role.LOOKUP]
    assert len(lookups) == 7


class Odd(nn.Module):
    """Each of these looks like something that integers could do, and is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = F.pad(x, (1, 1, 1, 1), value=1.0)
        x = F.pad(x, (-1, -1, -1, -1))
        x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = torch.add(x, self.conv.bias.reshape(4, 1, 1), alpha=2)
        x = F.adaptive_avg_pool2d(x, 3)
        return self.out(x).mean(1)


def test_what_integers_cannot_do_stays_float() -> None:
    operators = capture(Odd(), torch.ones(2, 3, 8, 8)).table.float_operators
    assert [name.split(" ")[1] for name in operators] == [
        "(pad.default)",
        "(pad.default)",
        "(avg_pool2d.default)",
        "(add.Tensor)",
        "(adaptive_avg_pool2d.default)",
        "(mean.dim)",
    ]


class TwoOrThreeFirst(nn.Module):
    """Values whose first dimension is 2 and 3, like a probed batch, but not the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        three = self.layer(x.permute(1, 0, 2))
        two = self.layer(x.reshape(-1, 2, 6).permute(1, 0, 2)[..., :4])
        return self.last(three.sum(0) + two.sum(0))


def test_a_first_dimension_that_is_not_the_batch_is_not_mistaken_for_it() -> None:
    network = capture(TwoOrThreeFirst(), torch.ones(5, 3, 4))
    linears = [node for node in network.module.graph.nodes if "linear" in str(node.target)]
    assert [node.meta["shape"] for node in linears] == [None, None, (4,)]
    assert [layer.name for layer in network.table.layers] == ["last"]
