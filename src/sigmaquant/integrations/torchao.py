"""A quantized network in PyTorch's own pipeline (PT2E), which ExecuTorch and others take up.

::

    module = pt2e_module(quantized)
    prepared = prepare_pt2e(module, PlanQuantizer(quantized))
    converted = convert_pt2e(prepared)

Nothing is calibrated: widths, scales and zero points are those of the quantized network, and so
are the rounded weights. Weights have one scale an output channel and lie in int8 with the limits of
their width; activations are int8, our 0 .. 2^b-1 minus 128. Biases stay float, as is usual there:
back ends round them to integers themselves. The one module that imports torchao.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sigmaquant.errors import MissingExtraError, ModelError, UnsupportedError
from sigmaquant.network.exporting import quiet_graph_copies
from sigmaquant.network.normalise import arguments_of
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.quantizers.scales import level_bounds

try:
    from torchao.quantization.pt2e import ObserverBase
    from torchao.quantization.pt2e.quantizer import (
        FixedQParamsQuantizationSpec,
        QuantizationAnnotation,
        QuantizationSpec,
        Quantizer,
    )
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY
except ImportError as error:
    raise MissingExtraError("PyTorch's PT2E pipeline", "torchao") from error

_BYTE_BITS = 8
_LOWEST = torch.iinfo(torch.int8).min


def pt2e_module(quantized: QuantizedNetwork) -> GraphModule:
    """The float graph with the quantized network's weights and biases, for ``prepare_pt2e``."""
    with quiet_graph_copies():
        module = copy.deepcopy(quantized.network.module)
    state = quantized.graph_module.state_dict()
    module.load_state_dict({name: state[name] for name in module.state_dict()})
    return module.requires_grad_(False)


class PlanQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates the graph of ``pt2e_module`` with the encodings of a quantized network.

    Args:
        quantized: the network.

    Raises:
        UnsupportedError: activations of more than 8 bits.
    """

    def __init__(self, quantized: QuantizedNetwork) -> None:
        super().__init__()
        self._quantized = quantized
        groups = quantized.network.table.groups
        self._activations = {group: self._activation(group) for group in groups}

    def annotate(self, model: GraphModule) -> GraphModule:
        """Say for every weight and activation how it is quantized.

        Raises:
            ModelError: another graph than ``pt2e_module`` gave.
        """
        nodes = {node.name: node for node in model.graph.nodes}
        network = self._quantized.network
        for node, group in network.encodings.groups.items():
            self._annotation(nodes, node).output_qspec = self._activations[group]
        for layer, calls in network.layer_nodes().items():
            for call in calls:
                annotation = self._annotation(nodes, call)
                weight = arguments_of(nodes[call.name])[1]
                annotation.input_qspec_map[weight] = self._weight(layer)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: ``annotate`` covers the whole plan or raises."""

    def _annotation(self, nodes: dict[str, Node], node: Node) -> Any:
        """The annotation of the node of that name, made where there is none."""
        if node.name not in nodes:
            place = self._quantized.network.places.get(node, node.name)
            raise ModelError(
                f"the graph has no node {node.name!r} ({place}): prepare what pt2e_module gives "
                "for the same quantized network"
            )
        own: QuantizationAnnotation = nodes[node.name].meta.setdefault(
            Q_ANNOTATION_KEY, QuantizationAnnotation()
        )
        return own

    def _activation(self, group: str) -> FixedQParamsQuantizationSpec:
        encoding = self._quantized.activation_quantizer(group).encoding()
        if encoding.bits > _BYTE_BITS:
            raise UnsupportedError(
                f"activations {group!r} have {encoding.bits} bits; int8, which PT2E's back ends "
                "take, holds 2 to 8"
            )
        return FixedQParamsQuantizationSpec(
            dtype=torch.int8,
            scale=encoding.scale,
            zero_point=encoding.zero_point + _LOWEST,
            quant_min=_LOWEST,
            quant_max=_LOWEST + 2**encoding.bits - 1,
            qscheme=torch.per_tensor_affine,
        )

    def _weight(self, layer: str) -> QuantizationSpec:
        quantizer = self._quantized.weight_quantizer(layer)
        low, high = level_bounds(quantizer.bits)
        scales = quantizer.safe_scale().detach().reshape(-1)
        return QuantizationSpec(
            dtype=torch.int8,
            observer_or_fake_quant_ctr=FixedPerChannelObserver.with_args(scales=scales),
            quant_min=low,
            quant_max=high,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
        )


class FixedPerChannelObserver(ObserverBase):  # type: ignore[misc]
    """Observes nothing: gives the scales that it was made with, and zero points of 0.

    Args:
        scales: (out,).
        dtype: of the integers.
        quant_min: lowest integer.
        quant_max: highest integer.
        qscheme: per channel.
        ch_axis: the channels' dimension.
        is_dynamic: never.
    """

    def __init__(
        self,
        scales: Tensor,
        dtype: torch.dtype,
        quant_min: int,
        quant_max: int,
        qscheme: torch.qscheme,
        ch_axis: int,
        is_dynamic: bool,
    ) -> None:
        super().__init__(dtype=dtype, is_dynamic=is_dynamic)
        self.scales: Tensor
        self.register_buffer("scales", scales)
        self.quant_min, self.quant_max = quant_min, quant_max
        self.qscheme, self.ch_axis = qscheme, ch_axis

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as it is: (out, ...)."""
        return weight

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scales and zero points, both (out,)."""
        return self.scales, torch.zeros(len(self.scales), dtype=torch.int64)
