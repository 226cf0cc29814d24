"""The captured graph with fake quantization where the integers will be."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import pydantic
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from sigmaquant.artifact import written_atomically
from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import ArtifactError
from sigmaquant.network import Network
from sigmaquant.network.exporting import quiet_graph_copies
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.quantizers import AffineRange, least_scales
from sigmaquant.quantizers.learned import ActivationQuantizer, WeightQuantizer

_FORMAT = "sigmaquant.quantized.1"


class QuantizedNetwork(nn.Module):
    """A network under a bit plan, fake-quantized: it can be run, trained and lowered.

    Args:
        network: the captured float network; its parameters are copied.
        plan: widths of all its layers and precision groups.
        ranges: encoding of every precision group.
        scales: (out,) weight scales of every layer.

    Raises:
        ArtifactError: the plan does not cover the network.
    """

    def __init__(
        self,
        network: Network,
        plan: BitPlan,
        ranges: Mapping[str, AffineRange],
        scales: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        plan.check_covers(network.table)
        self.network = network
        self.plan = plan
        with quiet_graph_copies():
            self.graph_module: GraphModule = copy.deepcopy(network.module)
        nodes = {node.name: node for node in self.graph_module.graph.nodes}
        for layer in network.layer_nodes():
            self._insert_weight_quantizer(layer, scales[layer], nodes)
        for group in network.table.groups:
            quantizer = ActivationQuantizer(ranges[group])
            self.graph_module.add_submodule(_activation_path(group), quantizer)
        for site in network.encodings.sites:
            self._insert_activation_quantizer(nodes[site.name], network.encodings.groups[site])
        self.graph_module.recompile()
        self.graph_module.requires_grad_(True)

    def _insert_weight_quantizer(
        self, layer: str, scales: Tensor, nodes: Mapping[str, Node]
    ) -> None:
        shaped = scales.reshape(-1, *[1] * (self.weight(layer).dim() - 1))
        quantizer = WeightQuantizer(shaped, self.plan.weight_bits[layer])
        self.graph_module.add_submodule(_weight_path(layer), quantizer)
        graph = self.graph_module.graph
        for call in self.network.layer_nodes()[layer]:
            node = nodes[call.name]
            weight = arguments_of(node)[1]
            with graph.inserting_before(node):
                node.replace_input_with(weight, graph.call_module(_weight_path(layer), (weight,)))

    def _insert_activation_quantizer(self, node: Node, group: str) -> None:
        graph = self.graph_module.graph
        with graph.inserting_after(node):
            quantized = graph.call_module(_activation_path(group), (node,))
        node.replace_all_uses_with(quantized, lambda user: user is not quantized)

    def forward(self, *inputs: Tensor) -> Any:
        """What the float model returns, computed with fake quantization."""
        return self.graph_module(*inputs)

    def weight(self, layer: str) -> Tensor:
        """The trainable weight of a layer, before fake quantization."""
        return tensor_of(self.graph_module, self._arguments(layer)[1])

    def bias(self, layer: str, call: int = 0) -> Tensor:
        """The trainable bias of one call of a layer."""
        return tensor_of(self.graph_module, self._arguments(layer, call)[2])

    def _arguments(self, layer: str, call: int = 0) -> list[Any]:
        return arguments_of(self.network.layer_nodes()[layer][call])

    def weight_quantizer(self, layer: str) -> WeightQuantizer:
        """The fake quantization of a layer's weight."""
        return self.graph_module.get_submodule(_weight_path(layer))  # type: ignore[return-value]

    def activation_quantizer(self, group: str) -> ActivationQuantizer:
        """The fake quantization of a precision group."""
        return self.graph_module.get_submodule(_activation_path(group))  # type: ignore[return-value]

    def raise_scales(self) -> None:
        """Raise weight scales that training has made too small for biases in int32."""
        with torch.no_grad():
            for layer, calls in self.network.layer_nodes().items():
                scale = self.weight_quantizer(layer).scale
                for index, call in enumerate(calls):
                    group = self.network.encodings.groups[arguments_of(call)[0]]
                    input_scale = self.activation_quantizer(group).safe_scale()
                    least = least_scales(self.bias(layer, index), input_scale)
                    scale.copy_(scale.maximum(least.reshape(scale.shape)))

    def state(self) -> dict[str, Tensor]:
        """A copy of all parameters and encodings, for ``restore``."""
        return {
            name: value.clone(memory_format=torch.contiguous_format)
            for name, value in self.graph_module.state_dict().items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set all parameters and encodings."""
        self.graph_module.load_state_dict(state)

    def copy(self) -> Self:
        """The same network in the same state, to be trained on its own."""
        return self._restored(self.network, self.plan, self.state())

    def under(self, plan: BitPlan, ranges: Mapping[str, AffineRange]) -> Self:
        """A copy under another plan, in which all that keeps its width is as it was.

        Layers of another width have the float network's weights and biases, and step 1.

        Args:
            plan: widths of all layers and precision groups.
            ranges: encoding of every precision group.

        Raises:
            ArtifactError: the plan does not cover the network.
        """
        scales = {layer.name: torch.ones(layer.channels) for layer in self.network.table.layers}
        other = type(self)(self.network, plan, ranges, scales)
        layers, groups = self.plan.differing(plan)
        # A bias that layers share stays where one of them does.
        kept = self._entries(self.network.layer_nodes().keys() - layers, ())
        fresh = other.state()
        anew = {name: fresh[name] for name in self._entries(layers, groups) - kept}
        other.restore({**self.state(), **anew})
        return other

    def _entries(self, layers: Collection[str], groups: Collection[str]) -> set[str]:
        """Names, in the state, of what belongs to layers and precision groups."""
        calls = [call for layer in layers for call in self.network.layer_nodes()[layer]]
        return {
            *(str(node.target) for call in calls for node in arguments_of(call)[1:3]),
            *(f"{_weight_path(layer)}.scale" for layer in layers),
            *(f"{_activation_path(group)}.scale" for group in groups),
            *(f"{_activation_path(group)}.zero_point" for group in groups),
        }

    def save(self, path: str | Path) -> None:
        """Write parameters, encodings and plan as one safetensors file."""
        metadata = {
            "format": _FORMAT,
            "plan": self.plan.model_dump_json(),
            "network": self.network.digest(),
        }
        with written_atomically(path) as temporary:
            safetensors.torch.save_file(self.state(), temporary, metadata)

    @classmethod
    def load(cls, path: str | Path, network: Network) -> Self:
        """Read a quantized network back.

        Args:
            path: what ``save`` wrote.
            network: the float network that was quantized.

        Raises:
            ArtifactError: the file is missing or damaged, or belongs to another network.
        """
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError) as error:
            raise ArtifactError(f"{path}: cannot read the quantized network: {error}") from error
        if metadata.get("format") != _FORMAT:
            raise ArtifactError(f"{path} is not a quantized network of this version of SigmaQuant")
        if metadata["network"] != network.digest():
            raise ArtifactError(f"{path} was made from another network; quantize this one anew")
        try:
            plan = BitPlan.model_validate_json(metadata["plan"])
            return cls._restored(network, plan, state)
        except (pydantic.ValidationError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{path}: the quantized network is damaged: {reason}") from error

    @classmethod
    def unfitted(cls, network: Network, plan: BitPlan) -> Self:
        """The network under a plan with every step 1: complete in form, not in values."""
        ranges = {group: AffineRange(1.0, 0, bits) for group, bits in plan.activation_bits.items()}
        scales = {layer.name: torch.ones(layer.channels) for layer in network.table.layers}
        return cls(network, plan, ranges, scales)

    @classmethod
    def _restored(cls, network: Network, plan: BitPlan, state: Mapping[str, Tensor]) -> Self:
        restored = cls.unfitted(network, plan)
        restored.restore(state)
        return restored


def _weight_path(layer: str) -> str:
    # The graph's own submodules keep their names; a dot would nest.
    return f"weight_quantizers.{layer.replace('.', '/')}"


def _activation_path(group: str) -> str:
    return f"activation_quantizers.{group.replace('.', '/')}"
