from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sigmaquant.calibration import activation_ranges, read_batches
from sigmaquant.calibration.ranges import group_histograms
from sigmaquant.network import capture
from tests import nets


def test_every_group_gets_a_range_of_its_width() -> None:
    network = nets.captured("resnet")
    batches = read_batches(nets.loader("resnet"), network)
    bits = {group: 4 + index % 5 for index, group in enumerate(network.table.groups)}
    ranges = activation_ranges(network, batches, bits)
    assert {group: encoding.bits for group, encoding in ranges.items()} == bits
    # What lies behind a ReLU needs nothing below zero.
    assert ranges["relu"].zero_point == 0
    assert ranges["x"].zero_point > 0


def test_a_shared_group_sees_all_its_tensors() -> None:
    network = nets.captured("concat")
    batches = read_batches(nets.loader("concat"), network)
    histogram = group_histograms(network, batches)["x"]
    runner = network.runner()
    members = [node for node, group in network.encodings.groups.items() if group == "x"]
    values: list[Tensor] = []
    for batch in batches:
        found = runner.values(batch.inputs)
        values += [found[node].flatten() for node in members]
    together = torch.cat(values)
    assert histogram.low == float(together.min())
    assert histogram.high == float(together.max())


def test_the_fused_relu_is_what_counts() -> None:
    network = nets.captured("mobilenet")
    batches = read_batches(nets.loader("mobilenet"), network)
    histograms = group_histograms(network, batches)
    assert histograms["stem.2"].low == 0
    assert histograms["stem.2"].high <= 6


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x) - 100))


def test_values_that_are_always_zero_have_a_range() -> None:
    network = capture(Dead(), torch.ones(2, 4))
    batches = read_batches([torch.ones(3, 4)], network)
    ranges = activation_ranges(network, batches, dict.fromkeys(network.table.groups, 8))
    assert all(encoding.scale > 0 for encoding in ranges.values())


def pre_activation(model: nn.Module, x: Tensor, bits: int = 4) -> tuple[float, float]:
    """Smallest and largest value of the range before the function."""
    network = capture(model.eval(), x[:2])
    batches = read_batches([x], network)
    found = activation_ranges(
        network, batches, dict.fromkeys(network.encodings.groups.values(), bits)
    )
    encoding = found["0"]
    low = -encoding.zero_point * encoding.scale
    return low, low + encoding.scale * (2**bits - 1)


def widened(function: nn.Module) -> nn.Sequential:
    """A layer that spreads its inputs twentyfold, a function, and a layer behind it."""
    first, last = nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1)
    for layer, gain in ((first, 20.0), (last, 1.0)):
        nn.init.constant_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, function, last)


@pytest.mark.parametrize("function", [nn.SiLU(), nn.Hardswish(), nn.GELU()])
def test_what_the_reader_does_not_tell_apart_needs_no_range(function: nn.Module) -> None:
    x = torch.randn(64, 1, 50, generator=torch.Generator().manual_seed(0))
    low, high = pre_activation(widened(function), x)
    assert low > -25
    assert high > 40
    low, _ = pre_activation(widened(nn.Identity()), x)
    assert low < -40


def test_with_another_reader_all_values_count() -> None:
    class Residual(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            wide = self[0](x)
            found: Tensor = self[2](self[1](wide)) + self[3](wide)
            return found

    x = torch.randn(64, 1, 50, generator=torch.Generator().manual_seed(0))
    low, _ = pre_activation(Residual(*widened(nn.SiLU()), nn.Conv1d(1, 1, 1)), x)
    assert low < -40
