from __future__ import annotations

import functools
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from sigmaquant.calibration import moments as moments_module
from sigmaquant.calibration.moments import (
    input_columns,
    input_moments,
    layer_groups,
    paired_moments,
    weight_rows,
)
from sigmaquant.network import capture

LAYERS = {
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (4, 7, 6)),
    "strided": (nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(0, 1)), (3, 8, 7)),
    "dilated": (nn.Conv2d(2, 4, 3, padding=2, dilation=2), (2, 8, 8)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), (6, 6, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 5, 5)),
    "pointwise": (nn.Conv2d(5, 3, 1), (5, 4, 4)),
    "strided pointwise": (nn.Conv2d(5, 3, 1, stride=2), (5, 5, 6)),
    "padded pointwise": (nn.Conv2d(5, 3, 1, padding=1), (5, 4, 4)),
    "conv1d": (nn.Conv1d(4, 6, 5, stride=2, padding=2, dilation=2, groups=2), (4, 15)),
    "pointwise conv1d": (nn.Conv1d(4, 6, 1), (4, 9)),
    "linear": (nn.Linear(7, 3), (7,)),
    "tokens": (nn.Linear(7, 3), (5, 7)),
}


@functools.cache
def node_of(name: str) -> Node:
    layer, shape = LAYERS[name]
    network = capture(layer, torch.zeros(2, *shape))
    ((node,),) = network.layer_nodes().values()
    return node


def brute_force_columns(layer: nn.Module, x: Tensor) -> Tensor:
    """(groups, k, columns): what each output reads, from the layer's derivative alone.

    Row j of the weight, set to one at a single element, makes the layer copy that input.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    groups = getattr(layer, "groups", 1)
    out_of_group = weight.shape[0] // groups
    columns = []
    with torch.no_grad():
        layer.bias.zero_()  # type: ignore[union-attr, operator]
        for element in itertools.product(*(range(n) for n in weight.shape[1:])):
            weight.zero_()
            for group in range(groups):
                weight[(group * out_of_group, *element)] = 1
            y = layer(x)
            y = y.movedim(-1, 0) if isinstance(layer, nn.Linear) else y.movedim(1, 0)
            columns.append(y[::out_of_group].flatten(1))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_those_of_what_each_output_reads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, shape = LAYERS[name]
    node = node_of(name)
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    expected = brute_force_columns(layer, x)
    kernel = tuple(layer.weight.shape[2:])  # type: ignore[union-attr]
    for chunk in (2**24, 1):  # all samples at once, and one after the other
        monkeypatch.setattr(moments_module, "_CHUNK_ELEMENTS", chunk)
        found = input_moments(node, kernel, x)
        assert found.count == expected.shape[-1]
        assert torch.allclose(found.products, expected @ expected.mT, atol=1e-3)
        assert torch.allclose(found.means, expected.mean(-1), atol=1e-5)
        assert torch.allclose(found.mean_squares, expected.square().mean(-1), atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_columns_are_the_layers_outputs(name: str) -> None:
    layer, shape = LAYERS[name]
    node = node_of(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)  # type: ignore[union-attr, operator]
        layer.bias.normal_(generator=generator)  # type: ignore[union-attr, operator]
        x = torch.randn(3, *shape, generator=generator)
        expected = layer(x)
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        rows = weight_rows(weight, layer_groups(node))
        columns = input_columns(node, tuple(weight.shape[2:]), x)
        product = (rows @ columns).flatten(1, 2) + bias[:, None]
        if isinstance(layer, nn.Linear):
            product = product.transpose(1, 2)
    assert torch.allclose(product.reshape(expected.shape), expected, atol=1e-4)


def test_batches_add_up() -> None:
    node, shape = node_of("grouped"), LAYERS["grouped"][1]
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(2))
    whole = input_moments(node, (3, 3), x)
    parts = input_moments(node, (3, 3), x[:1]) + input_moments(node, (3, 3), x[1:])
    assert parts.count == whole.count
    assert torch.allclose(parts.products, whole.products, rtol=1e-4, atol=1e-3)
    assert torch.allclose(parts.means, whole.means, atol=1e-5)


@pytest.mark.parametrize("name", ["strided", "depthwise", "conv1d", "linear", "tokens"])
def test_paired_moments_are_those_of_both_inputs_columns(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, shape = LAYERS[name]
    node, kernel = node_of(name), tuple(layer.weight.shape[2:])  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(3)
    pairs = [(torch.randn(4, *shape, generator=generator),) * 2 for _ in range(2)]
    pairs = [(x, x + torch.randn(x.shape, generator=generator)) for x, _ in pairs]
    x, y = (brute_force_columns(layer, torch.cat(side)) for side in zip(*pairs, strict=True))
    for chunk in (2**24, 1):
        monkeypatch.setattr(moments_module, "_CHUNK_ELEMENTS", chunk)
        cross, own = paired_moments(node, kernel, pairs)
        assert torch.allclose(cross, x @ y.mT, rtol=1e-4, atol=1e-3)
        assert torch.allclose(own, y @ y.mT, rtol=1e-4, atol=1e-3)
