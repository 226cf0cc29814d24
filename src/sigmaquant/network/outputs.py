"""What a network's results are, told from its graph: never from the values of a batch."""

from __future__ import annotations

import torch
from torch.fx import Node

from sigmaquant.network.capture import Network
from sigmaquant.network.operators import RESHAPES

aten = torch.ops.aten

_SOFTMAXES = (aten.softmax.int, aten._softmax.default)


def gives_probabilities(network: Network) -> bool:
    """Whether the first output comes out of a softmax, and is only reshaped behind it."""
    node = _first_output(network)
    while node.target in RESHAPES:
        node = node.all_input_nodes[0]
    return node.target in _SOFTMAXES


def _first_output(network: Network) -> Node:
    returned: Node = next(iter(network.module.graph.find_nodes(op="output")))
    return returned.all_input_nodes[0]
