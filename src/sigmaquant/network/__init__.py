"""Capture: any ``nn.Module`` becomes a graph of ATen operators that can be run and trained.

Working on the exported graph rather than on modules is what lets an operator that we don't know
stay in float while everything around it is quantized. What is decided here once, from the graph
alone, holds for all later stages: which operators run in integers, which tensors share an
encoding, and in which order everything is executed.
"""

from sigmaquant.network.capture import Network, capture
from sigmaquant.network.runner import GraphRunner

__all__ = ["GraphRunner", "Network", "capture"]
