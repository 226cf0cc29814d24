"""How much the network's loss minds an error at each place of its intermediate values.

The loss rises by 1/2 dz^T F dz where a value z is off by a small dz. BRECQ (Li et al. 2021, eq. 10)
keeps the diagonal of F: the mean squared gradient of the loss. The loss is the divergence from the
float network's outputs, so its random gradients are those of ``taylor`` scores.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch, samples_of
from sigmaquant.network import Network
from sigmaquant.sensitivity.taylor import random_objective

_DRAWS = 4  # random gradients a sample


def importance(
    network: Network, batches: Sequence[Batch], places: Collection[Node], seed: int
) -> dict[Node, Tensor]:
    """Half the mean squared gradient at each place: (1, ...), of those that have a gradient.

    The mean is over all samples: what is kept does not grow with them.

    Args:
        network: the float network.
        batches: samples.
        places: values of the graph.
        seed: of the random gradients.
    """
    found: dict[Node, Tensor] = {}
    for index, batch in enumerate(batches):
        values, outputs = _watched(network, batch, places)
        for draw in range(_DRAWS):
            objective = random_objective(outputs, batch, None, seed + index * _DRAWS + draw)
            gradients = torch.autograd.grad(
                objective, list(values.values()), retain_graph=True, allow_unused=True
            )
            for place, gradient in zip(values, gradients, strict=True):
                if gradient is not None:
                    squares = 0.5 * gradient.square().sum(0, keepdim=True)
                    found[place] = found.get(place, torch.zeros(())) + squares
    return {place: total / (_DRAWS * samples_of(batches)) for place, total in found.items()}


def _watched(
    network: Network, batch: Batch, places: Collection[Node]
) -> tuple[Mapping[Node, Tensor], tuple[Tensor, ...]]:
    kept: dict[Node, Tensor] = {}

    def keep(node: Node, value: Any) -> Any:
        if node not in places or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if not value.requires_grad:
            value = value.detach().requires_grad_()
        kept[node] = value
        return value

    outputs = network.runner().watch(batch.inputs, keep)
    return kept, outputs
