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
from sigmaquant.divergence import Rises, UserLoss, sample_losses
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of
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
        advance: Callable[[], None],
    ) -> tuple[Rises, Tensor]:
        """See ``Metric.rises``."""
        runner = network.runner()
        rises: Rises = {}
        with torch.no_grad():
            values = runner.values(batch.inputs)
            reference = runner.outputs(values)
            before = sample_losses(reference, reference, batch, loss)
            for layer, calls in network.layer_nodes().items():
                replaced = [_parameters(call) for call in calls]
                behind = runner.behind(*(node for pair in replaced for node in pair))
                rises[layer] = {}
                for bits, candidate in candidates[layer].items():
                    changed = {weight: candidate.weight for weight, _ in replaced}
                    changed |= {b: values[b] + candidate.bias_shift for _, b in replaced}
                    outputs = runner.rerun(values, behind, changed)
                    rises[layer][bits] = sample_losses(reference, outputs, batch, loss) - before
                advance()
        return rises, before


def _parameters(call: Node) -> tuple[Node, Node]:
    _, weight, bias, *_ = arguments_of(call)
    return weight, bias
