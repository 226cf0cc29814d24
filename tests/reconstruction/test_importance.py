from __future__ import annotations

import torch
from torch import Tensor, nn

from sigmaquant.calibration import Batch
from sigmaquant.divergence import divergence
from sigmaquant.network import capture
from sigmaquant.reconstruction.importance import importance
from tests import nets


class Summed(nn.Module):
    """Its outputs see the three values of a layer with weights 0, 1 and 3."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.out = nn.Linear(3, 1, bias=False)
        self.out.weight.data = torch.tensor([[0.0, 1.0, 3.0]])

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x))


def test_it_is_what_a_small_error_costs() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 4, generator=generator)
    network = capture(Summed().eval(), inputs[:2])
    (layer,) = network.layer_nodes()["layer"]
    found = importance(network, [Batch((x,)) for x in inputs.split(64)], {layer}, seed=0)[layer]
    assert found.shape == (1, 3)
    assert float(found[0, 0]) == 0
    torch.testing.assert_close(found[0, 2] / found[0, 1], torch.tensor(9.0))

    # The divergence where the second value is off by a little.
    off = 0.01
    reference = network(inputs)
    shifted = tuple(output + off for output in reference)
    cost = divergence(reference, shifted).mean() / off**2
    torch.testing.assert_close(found[0, 1], cost, rtol=0.2, atol=0)


def test_values_that_the_outputs_do_not_depend_on_are_left_out() -> None:
    network = nets.captured("multi_output")
    places = set(network.encodings.sites)
    batches = [Batch(inputs) for inputs in nets.loader("multi_output")]
    found = importance(network, batches, places, seed=0)
    assert set(found) <= places
    assert all(bool((value >= 0).all()) for value in found.values())
