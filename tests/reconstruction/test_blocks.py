from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.network import Network, capture
from sigmaquant.network.operators import Role, layer_name
from sigmaquant.reconstruction.blocks import Block, find_blocks
from sigmaquant.reconstruction.running import QuantizedBlock, Stream, run_float
from tests import nets


def layers_of(network: Network, block: Block) -> list[str]:
    roles = network.encodings.roles
    return [layer_name(node) for node in block.calls if roles[node] is Role.LAYER]


def layers(network: Network) -> list[list[str]]:
    return [layers_of(network, block) for block in find_blocks(network)]


def test_a_residual_block_is_one_block() -> None:
    assert layers(nets.captured("resnet")) == [
        ["conv1"],
        ["layer1.0.conv1", "layer1.0.conv2"],
        ["layer2.0.conv1", "layer2.0.conv2"],
        ["fc"],
    ]


def test_plain_layers_are_blocks_with_what_follows_them() -> None:
    network = nets.captured("mlp")
    blocks = find_blocks(network)
    assert layers(network) == [["hidden"], ["out"]]
    # The ReLU belongs to the layer before it.
    assert [len(block.calls) for block in blocks] == [2, 1]


def test_branches_that_are_joined_are_one_block() -> None:
    assert layers(nets.captured("concat")) == [["a", "b"], ["head"]]


def test_what_the_network_returns_does_not_keep_heads_together() -> None:
    network = nets.captured("multi_output")
    trunk, mask, classes = find_blocks(network)
    assert layers(network) == [["trunk"], ["mask"], ["classes"]]
    assert mask.inputs == trunk.outputs
    # The mask, and what the other head goes on from.
    assert len(mask.outputs) == 2
    assert classes.inputs == mask.outputs[1:]


class LongShortcut(nn.Module):
    """A shortcut around nine layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.inner = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(9))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        start = x = F.relu(self.stem(x))
        for layer in self.inner:
            x = F.relu(layer(x))
        return self.head(x + start).mean((2, 3))


def test_a_region_of_too_many_layers_is_cut_at_each() -> None:
    network = capture(LongShortcut().eval(), torch.ones(2, 3, 4, 4))
    assert layers(network) == [["stem"], *([f"inner.{i}"] for i in range(9)), ["head"]]
    # The shortcut is read by the last of them, which holds the sum.
    assert [len(block.inputs) for block in find_blocks(network)] == [*[1] * 9, 2, 1]


def in_a_row(network: Network, run: object, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    values: Stream = dict(zip(network.runner().inputs, inputs, strict=True))
    with torch.no_grad():
        for block in find_blocks(network):
            read = {node: values[node] for node in block.inputs}
            values |= run(block, read)  # type: ignore[operator]
    return network.runner().outputs(values)


@pytest.mark.parametrize("name", nets.CASES)
def test_the_blocks_in_a_row_are_the_network(name: str) -> None:
    network, inputs = nets.captured(name), list(nets.samples(name))
    found = in_a_row(network, lambda b, read: run_float(b, network.module, read), inputs)
    expected = network(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", nets.CASES)
def test_the_quantized_blocks_in_a_row_are_the_quantized_network(name: str) -> None:
    quantized, inputs = nets.quantized(name, 3), list(nets.samples(name))
    network = quantized.network
    found = in_a_row(network, lambda b, read: QuantizedBlock(b, quantized)(read), inputs)
    with torch.no_grad():
        expected = nets.flat(quantized(*inputs))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", nets.CASES)
def test_every_layer_call_is_in_one_block(name: str) -> None:
    network = nets.captured(name)
    found = [layer for block in layers(network) for layer in block]
    calls = [layer for layer, nodes in network.layer_nodes().items() for _ in nodes]
    assert sorted(found) == sorted(calls)
    assert all(layers(network))


def test_a_layer_called_in_two_blocks_belongs_to_none() -> None:
    quantized = nets.quantized("tied", 3)
    own = [QuantizedBlock(b, quantized).layers for b in find_blocks(quantized.network)]
    calls = quantized.network.layer_nodes()
    assert {layer for part in own for layer in part} == {k for k, v in calls.items() if len(v) == 1}
