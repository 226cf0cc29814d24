"""``loss``: quantize one layer, run forward, take the difference.

The digest's method and the reference for every other. Only what lies behind the layer is computed
anew, from the activations of one float run a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch
from sigmaquant.divergence import Outputs, Rises, UserLoss, known_by_sample, sample_losses
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.runner import GraphRunner, Values
from sigmaquant.quantizers import AffineRange, fake_quantize
from sigmaquant.sensitivity.accumulate import BatchRises
from sigmaquant.sensitivity.candidates import Candidates


@dataclass(frozen=True)
class LossMetric:
    """See the module."""

    def rises(
        self,
        network: Network,
        batch: Batch,
        candidates: Candidates,
        loss: UserLoss | None,
        seed: int,
        advance: Callable[[], None],
    ) -> BatchRises:
        """See ``Metric.rises``; nothing is drawn."""
        runner = network.runner()
        weights: Rises = {}
        with torch.no_grad():
            values = runner.values(batch.inputs)
            reference = runner.outputs(values)
            before = sample_losses(reference, reference, batch, loss)

            def rise(outputs: Outputs) -> Tensor:
                return sample_losses(reference, outputs, batch, loss) - before

            for layer, calls in network.layer_nodes().items():
                replaced = [_parameters(call) for call in calls]
                behind = runner.behind(*(node for pair in replaced for node in pair))
                weights[layer] = {}
                for bits, candidate in candidates.weights[layer].items():
                    changed = {weight: candidate.weight for weight, _ in replaced}
                    changed |= {b: values[b] + candidate.bias_shift for _, b in replaced}
                    weights[layer][bits] = rise(runner.rerun(values, behind, changed))
                advance()
            activations: Rises = {
                group: {
                    bits: rise(_quantized_outputs(network, runner, values, group, encoding))
                    for bits, encoding in by_width.items()
                }
                for group, by_width in candidates.encodings.items()
            }
        independent = len(batch) if known_by_sample(loss) else 1
        return BatchRises(weights, activations, before, independent)


def _quantized_outputs(
    network: Network, runner: GraphRunner, values: Values, group: str, encoding: AffineRange
) -> Outputs:
    """The outputs with all sites of one precision group quantized."""
    sites = {s for s in network.encodings.sites if network.encodings.groups[s] == group}

    def quantize(node: Node, value: Tensor) -> Tensor:
        return fake_quantize(value, encoding) if node in sites else value

    given = {s: quantize(s, values[s]) for s in sites if s.op == "placeholder"}
    anew = sites.union(runner.behind(*sites))
    return runner.rerun(values, [n for n in runner.nodes if n in anew], given, quantize)


def _parameters(call: Node) -> tuple[Node, Node]:
    _, weight, bias, *_ = arguments_of(call)
    return weight, bias
