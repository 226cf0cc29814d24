"""Feature distillation: the float network's intermediate values as further targets.

A deep network's outputs say little to its first layers, and a detector's outputs little to most of
its places (Romero et al. 2015, FitNets). The targets here are the values that will be integers, so
none needs a layer of its own to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.network import GraphRunner, Network
from sigmaquant.quantized import QuantizedNetwork

_SMALLEST = torch.finfo(torch.float32).tiny


class Features:
    """The quantized intermediate values of a network and of its teacher, in order of execution.

    Args:
        network: the float network.
        student: the network in training.
    """

    def __init__(self, network: Network, student: QuantizedNetwork) -> None:
        self._sites = frozenset(network.encodings.sites)
        self._quantizers = [student.activation_quantizer(group) for group in network.table.groups]

    def reference(
        self, teacher: GraphRunner, inputs: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """The teacher's outputs and its intermediate values."""
        values: list[Tensor] = []

        def see(node: Node, value: Any) -> Any:
            if node in self._sites:
                values.append(value)
            return value

        with torch.no_grad():
            return teacher.watch(inputs, see), values

    @contextmanager
    def seen(self) -> Iterator[list[Tensor]]:
        """The student's intermediate values, while it runs within the block."""
        values: list[Tensor] = []
        with ExitStack() as hooks:
            for quantizer in self._quantizers:
                handle = quantizer.register_forward_hook(lambda *call: values.append(call[2]))
                hooks.callback(handle.remove)
            yield values


def feature_distance(reference: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """The mean over all values of squared error relative to the reference's mean square: ()."""
    errors = [
        (value - exact).square().mean() / exact.square().mean().clamp_min(_SMALLEST)
        for exact, value in zip(reference, values, strict=True)
    ]
    return torch.stack(errors).mean()
