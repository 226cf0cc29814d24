from __future__ import annotations

import functools
import itertools
import operator

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from sigmaquant.calibration import columns as columns_module
from sigmaquant.calibration.columns import (
    ColumnReader,
    input_columns,
    layer_groups,
    layer_positions,
    picked_columns,
    weight_rows,
)
from sigmaquant.calibration.moments import InputMoments, input_moments, paired_moments
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


@pytest.mark.parametrize("name", LAYERS)
def test_any_columns_can_be_picked(name: str) -> None:
    layer, shape = LAYERS[name]
    node = node_of(name)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(3, *shape, generator=generator)
    kernel = tuple(layer.weight.shape[2:])  # type: ignore[union-attr]
    every = input_columns(node, kernel, x).permute(1, 2, 0, 3).flatten(2)
    places = torch.randint(every.shape[-1], (20,), generator=generator)
    assert every.shape[-1] == 3 * layer_positions(node)
    assert torch.equal(picked_columns(node, kernel, x, places), every[..., places])


def reader_of(name: str, samples: int = 1) -> ColumnReader:
    layer, _ = LAYERS[name]
    return ColumnReader(node_of(name), tuple(layer.weight.shape), samples)  # type: ignore[union-attr]


def scatter(x: Tensor, y: Tensor) -> Tensor:
    """Products about the means of columns (groups, k, columns)."""
    return (x - x.mean(-1, keepdim=True)) @ (y - y.mean(-1, keepdim=True)).mT


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_those_of_what_each_output_reads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, shape = LAYERS[name]
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    expected = brute_force_columns(layer, x)
    for chunk in (2**24, 1):  # all samples at once, and one after the other
        monkeypatch.setattr(columns_module, "_CHUNK_ELEMENTS", chunk)
        found = input_moments(reader_of(name), x)
        assert found.count == expected.shape[-1]
        assert torch.allclose(found.scatter, scatter(expected, expected), atol=1e-3)
        assert torch.allclose(found.means, expected.mean(-1), atol=1e-5)


@pytest.mark.parametrize("chunk", [2**24, 64])
@pytest.mark.parametrize("name", ["conv", "depthwise", "conv1d", "tokens"])
def test_a_sample_of_the_columns_gives_nearly_the_same_moments(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shape = LAYERS[name]
    x = torch.randn(2000, *shape, generator=torch.Generator().manual_seed(0))
    whole = input_moments(reader_of(name), x)
    monkeypatch.setattr(columns_module, "_CHUNK_ELEMENTS", chunk)
    few = input_moments(reader_of(name, samples=4 * len(x)), x[:1000])
    few = few + input_moments(reader_of(name, samples=4 * len(x)), x[1000:])
    assert few.count < whole.count
    difference = few.scatter / few.count - whole.scatter / whole.count
    assert float(difference.abs().max()) < 0.15


def test_what_is_read_together_comes_from_the_same_places() -> None:
    _, shape = LAYERS["conv"]
    x = torch.randn(1000, *shape, generator=torch.Generator().manual_seed(0))
    for one, other in reader_of("conv", samples=10_000).chunks(x, 2 * x):
        assert torch.equal(2 * one, other)


def test_batches_add_up() -> None:
    shape = LAYERS["grouped"][1]
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(2))
    whole = input_moments(reader_of("grouped"), x)
    parts = input_moments(reader_of("grouped"), x[:1]) + input_moments(reader_of("grouped"), x[1:])
    assert parts.count == whole.count
    assert torch.allclose(parts.scatter, whole.scatter, rtol=1e-4, atol=1e-3)
    assert torch.allclose(parts.means, whole.means, atol=1e-5)


def test_a_large_mean_hides_nothing() -> None:
    x = torch.randn(64, *LAYERS["grouped"][1], generator=torch.Generator().manual_seed(4))
    reader = reader_of("grouped")
    near = input_moments(reader, x[:9]) + input_moments(reader, x[9:])
    far = input_moments(reader, x[:9] + 1000) + input_moments(reader, x[9:] + 1000)
    assert torch.allclose(near.scatter, far.scatter, rtol=1e-3, atol=0.1)


def parts_of(x: Tensor, size: int) -> InputMoments:
    """Moments of columns (k, columns), collected in parts of one size."""
    return functools.reduce(
        operator.add, (InputMoments.of(part[None]) for part in x.split(size, 1))
    )


@pytest.mark.parametrize("columns", [64, 256, 1024])
def test_moments_are_shrunk_as_much_as_brings_them_closest_to_the_truth(columns: int) -> None:
    """No other share of the diagonal does much better, which knows the truth."""
    generator = torch.Generator().manual_seed(columns)
    mixing = torch.randn(24, 24, generator=generator) / 5 + torch.eye(24)
    truth = mixing @ mixing.T
    found = parts_of(mixing @ torch.randn(24, columns, generator=generator), columns // 8)
    measured = found.scatter[0] / columns
    shares = [step / 20 for step in range(21)]
    diagonal = measured.diag().diag()
    errors = [float((torch.lerp(measured, diagonal, s) - truth).norm()) for s in shares]
    own = float((found.shrunk[0] / columns - truth).norm())
    assert own < 1.05 * min(errors)
    assert own < errors[0]


def test_hardly_anything_is_shrunk_where_data_abound() -> None:
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(
        4, 20_000, generator=torch.Generator().manual_seed(1)
    )
    assert float(parts_of(x, 1000).chance) < 0.001


def test_the_size_of_the_parts_hardly_matters() -> None:
    x = torch.randn(24, 960, generator=torch.Generator().manual_seed(5))
    mixed = torch.randn(24, 24, generator=torch.Generator().manual_seed(6)) @ x
    shares = [float(parts_of(mixed, size).chance) for size in (4, 16, 60)]
    assert max(shares) < 1.4 * min(shares)


def test_parts_that_cannot_be_compared_are_taken_as_they_are() -> None:
    moments = InputMoments.of(torch.randn(1, 8, 50, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(moments.shrunk, moments.scatter)


def test_inputs_that_never_vary_are_no_obstacle() -> None:
    moments = parts_of(torch.ones(8, 64), 16)
    assert torch.equal(moments.shrunk, torch.zeros(1, 8, 8))


@pytest.mark.parametrize("name", ["strided", "depthwise", "conv1d", "linear", "tokens"])
def test_paired_moments_are_those_of_both_inputs_columns(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(3)
    pairs = [(torch.randn(4, *shape, generator=generator),) * 2 for _ in range(2)]
    pairs = [(x, x + torch.randn(x.shape, generator=generator)) for x, _ in pairs]
    x, y = (brute_force_columns(layer, torch.cat(side)) for side in zip(*pairs, strict=True))
    for chunk in (2**24, 1):
        monkeypatch.setattr(columns_module, "_CHUNK_ELEMENTS", chunk)
        found = paired_moments(reader_of(name), pairs)
        assert torch.allclose(found.cross, scatter(x, y), rtol=1e-4, atol=1e-3)
        assert torch.allclose(found.own.scatter, scatter(y, y), rtol=1e-4, atol=1e-3)
