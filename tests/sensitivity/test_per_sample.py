from __future__ import annotations

import pytest
import torch
from torch import nn

from sigmaquant.network import capture
from sigmaquant.sensitivity.per_sample import weight_gradients

LAYERS = {
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (4, 7, 6)),
    "unpadded": (nn.Conv2d(4, 6, (2, 3)), (4, 7, 6)),
    "strided": (nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(0, 1)), (3, 8, 7)),
    "strided by more than it covers": (nn.Conv2d(3, 4, 2, stride=3, padding=1), (3, 9, 7)),
    "dilated": (nn.Conv2d(2, 4, 3, padding=2, dilation=2), (2, 8, 8)),
    "dilated and strided": (nn.Conv2d(2, 4, 3, padding=3, dilation=3, stride=2), (2, 9, 8)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), (6, 6, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4, stride=2), (4, 5, 5)),
    "pointwise": (nn.Conv2d(5, 3, 1), (5, 4, 4)),
    "strided pointwise": (nn.Conv2d(5, 3, 1, stride=2), (5, 5, 6)),
    "conv1d": (nn.Conv1d(4, 6, 5, stride=2, padding=2, dilation=2, groups=2), (4, 15)),
    "linear": (nn.Linear(7, 3), (7,)),
    "tokens": (nn.Linear(7, 3), (5, 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_samples_gradient_is_the_one_it_would_have_alone(name: str) -> None:
    layer, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *shape, generator=generator)
    ((node,),) = capture(layer, x).layer_nodes().values()
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    gradient = torch.randn(layer(x).shape, generator=generator)
    found = weight_gradients(node, tuple(weight.shape), gradient, x)
    for sample in range(len(x)):
        (own,) = torch.autograd.grad(layer(x[sample : sample + 1]), weight, gradient[sample, None])
        assert torch.allclose(found[sample], own.flatten(), atol=1e-4)
