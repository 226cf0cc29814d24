"""Running a block on its own, in float or with fake quantization."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.network.operators import Role, layer_name
from sigmaquant.network.runner import Values, call
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.reconstruction.blocks import Block, is_batch_size

Stream = dict[Node, Any]
"""Values that go from block to block: (samples, ...) each."""


def run_float(block: Block, module: nn.Module, inputs: Mapping[Node, Any]) -> Stream:
    """The block's outputs in the float network.

    Args:
        block: what runs.
        module: with the graph's parameters.
        inputs: (batch, ...) each.
    """
    values = _starting_values(block, module, inputs)
    for node in block.calls:
        values[node] = call(node, values)
    return {node: values[node] for node in block.outputs}


class QuantizedBlock:
    """A block of a quantized network.

    Args:
        block: which.
        quantized: its parameters are read anew in every run.

    Attributes:
        block, quantized: as given.
        layers: those that no other block reads anything of, in order of execution.
    """

    def __init__(self, block: Block, quantized: QuantizedNetwork) -> None:
        self.block = block
        self.quantized = quantized
        self._encodings = quantized.network.encodings
        called = dict.fromkeys(layer_name(node) for node in block.calls if self._is_layer(node))
        self.layers = tuple(layer for layer in called if self._is_own(layer))

    def __call__(
        self, inputs: Mapping[Node, Any], weights: Mapping[str, Tensor] | None = None
    ) -> Stream:
        """The block's outputs.

        Args:
            inputs: (batch, ...) each, as earlier blocks gave them.
            weights: (out, ...) of some layers, in place of their quantized weights.
        """
        values = _starting_values(self.block, self.quantized.graph_module, inputs)
        for node in self.block.inputs:
            values[node] = self._on_grid(node, values[node])
        for node in self.block.calls:
            result = call(node, self._arguments(node, values, weights or {}))
            values[node] = self._on_grid(node, result)
        return {node: values[node] for node in self.block.outputs}

    def _is_own(self, layer: str) -> bool:
        calls = self.quantized.network.layer_nodes()[layer]
        read = {str(parameter.target) for call in calls for parameter in arguments_of(call)[1:3]}
        readers = {
            user
            for parameter in self.quantized.network.module.graph.find_nodes(op="get_attr")
            if str(parameter.target) in read
            for user in parameter.users
        }
        return readers <= set(self.block.calls)

    def _arguments(
        self, node: Node, values: Values, weights: Mapping[str, Tensor]
    ) -> Mapping[Node, Any]:
        if not self._is_layer(node):
            return values
        layer, place = layer_name(node), arguments_of(node)[1]
        weight = weights.get(layer)
        if weight is None:
            weight = self.quantized.weight_quantizer(layer)(values[place])
        return ChainMap({place: weight}, values)

    def _on_grid(self, node: Node, value: Any) -> Any:
        if not self._writes_integers(node):
            return value
        return self.quantized.activation_quantizer(self._encodings.groups[node])(value)

    def _writes_integers(self, node: Node) -> bool:
        """Whether the block quantizes the value; earlier blocks have quantized what they made."""
        own = node.op == "placeholder" or node not in self.block.inputs
        return own and node in self._encodings.sites

    def _is_layer(self, node: Node) -> bool:
        return self._encodings.roles[node] is Role.LAYER


def _starting_values(block: Block, module: nn.Module, inputs: Mapping[Node, Any]) -> Values:
    """What the calls of a block need before the first of them runs."""
    nodes = (*block.sizes, *block.calls)
    read = (source for node in nodes for source in node.all_input_nodes)
    values: Values = {node: tensor_of(module, node) for node in read if node.op == "get_attr"}
    values |= inputs
    batch = len(next(iter(inputs.values())))
    for node in block.sizes:
        values[node] = batch if is_batch_size(node) else call(node, values)
    return values
