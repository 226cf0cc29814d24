"""``taylor``: the expected loss rise to second order, from one backward pass.

The Fisher matrix F is the Hessian of the KL divergence at the float network, so the rise caused by
a small change dW of one layer is 1/2 dz^T F dz with dz the change of the layer's output z (the same
expansion as in Hassibi & Stork 1993, eq. 1). A scalar whose gradient at z is a random g with
E[g g^T] = F turns this into 1/2 E[(g . dz)^2]. g . dz is linear in dW: it is the inner product of
the sample's own weight gradient with dW. So each sample's weight gradient is formed once, and any
number of candidates costs one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch
from sigmaquant.calibration.moments import input_columns, layer_groups
from sigmaquant.divergence import (
    Outputs,
    Rises,
    UserLoss,
    is_class_score,
    log_probabilities,
    sample_losses,
)
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.operators import CONVOLUTIONS
from sigmaquant.network.runner import Values
from sigmaquant.sensitivity.candidates import Candidate, Candidates, layer_weight

_GRADIENT_ELEMENTS = 2**26  # per-sample weight gradients held at once: 256 MiB of float32


@dataclass(frozen=True)
class TaylorMetric:
    """See the module.

    Attributes:
        seed: of the random directions.
    """

    seed: int = 0

    def rises(
        self,
        network: Network,
        batch: Batch,
        candidates: Candidates,
        loss: UserLoss | None,
        advance: Callable[[], None],
    ) -> tuple[Rises, Tensor]:
        """See ``Metric.rises``."""
        layers = network.layer_nodes()
        values, outputs = _differentiable_run(network, batch)
        reference = tuple(output.detach() for output in outputs)
        before = sample_losses(reference, reference, batch, loss)
        objective = self._objective(outputs, batch, loss)
        calls = [call for nodes in layers.values() for call in nodes]
        gradients = torch.autograd.grad(objective, [values[c] for c in calls], allow_unused=True)
        by_call = dict(zip(calls, gradients, strict=True))
        rises: Rises = {}
        with torch.no_grad():
            for layer, nodes in layers.items():
                change = _first_order_changes(nodes, by_call, values, candidates[layer], network)
                squares = 0.5 * change.square()
                rises[layer] = dict(zip(candidates[layer], squares.unbind(1), strict=True))
                advance()
        return rises, before

    def _objective(self, outputs: Outputs, batch: Batch, loss: UserLoss | None) -> Tensor:
        """A scalar whose gradient's squares average to the loss's second derivative."""
        if loss is not None:
            return loss(outputs, batch.target) * len(batch)
        generator = torch.Generator().manual_seed(self.seed)
        parts = [_pseudo_loss(y, generator) for y in outputs if y.is_floating_point()]
        return torch.stack(parts).sum()


def _pseudo_loss(output: Tensor, generator: torch.Generator) -> Tensor:
    # E[(e . v)^2] = |v|^2 for standard normal e.
    noise = torch.randn(output.shape, generator=generator)
    if is_class_score(output):
        # |v|^2 = sum_y p_y (d log p_y)^2, twice the KL divergence of a small step. Drawn labels
        # would do too, but a sure network almost never draws one that says anything.
        log_p = log_probabilities(output)
        return (log_p.detach().exp().sqrt() * noise * log_p).sum()
    # |v|^2 = |dy|^2, scaled to the relative squared error of ``divergence``.
    elements = output[0].numel() * output.detach().square().mean().clamp_min(1e-30)
    return (noise * output).sum() * (2.0 / elements).sqrt()


def _differentiable_run(network: Network, batch: Batch) -> tuple[Values, Outputs]:
    """All values, with a graph of gradients that starts at the first layer's output."""
    runner = network.runner()
    layers = {call for calls in network.layer_nodes().values() for call in calls}
    kept: Values = {}
    inputs = {source for call in layers for source in call.all_input_nodes}

    def keep(node: Node, value: Tensor) -> Tensor:
        if node in layers and not value.requires_grad:
            value.requires_grad_()
        if node in layers or node in inputs:
            kept[node] = value
        return value

    return kept, runner.watch(batch.inputs, keep)


def _first_order_changes(
    calls: Sequence[Node],
    gradients: Mapping[Node, Tensor | None],
    values: Values,
    candidates: Mapping[int, Candidate],
    network: Network,
) -> Tensor:
    """G . dz of every sample and width: (samples, widths)."""
    weight = layer_weight(network, calls[0])
    steps = torch.stack([(c.weight - weight).flatten() for c in candidates.values()], dim=1)
    shifts = torch.stack([c.bias_shift for c in candidates.values()], dim=1)
    samples = len(values[calls[0]])
    total = torch.zeros(samples, len(candidates))
    for call in calls:
        gradient, source = gradients[call], values[arguments_of(call)[0]].detach()
        if gradient is not None:
            total += _inner_products(call, weight, gradient, source, steps, shifts)
    return total


def _inner_products(
    call: Node, weight: Tensor, gradient: Tensor, source: Tensor, steps: Tensor, shifts: Tensor
) -> Tensor:
    """Of each sample's weight and bias gradient with every candidate's step: (samples, widths)."""
    groups, kernel = layer_groups(call), tuple(weight.shape[2:])
    products = []
    size = max(1, _GRADIENT_ELEMENTS // max(weight.numel(), _patch_elements(call, weight)))
    for g, x in zip(gradient.split(size), source.split(size), strict=True):
        by_position = g if call.target in CONVOLUTIONS else g.movedim(-1, 1)
        by_position = by_position.reshape(len(g), groups, -1, _positions(call))
        own = by_position @ input_columns(call, kernel, x).mT
        sums = by_position.sum(-1).flatten(1)
        products.append(own.flatten(1) @ steps + sums @ shifts)
    return torch.cat(products)


def _positions(call: Node) -> int:
    shape = call.meta["shape"]
    return math.prod(shape[1:] if call.target in CONVOLUTIONS else shape[:-1])


def _patch_elements(call: Node, weight: Tensor) -> int:
    return layer_groups(call) * math.prod(weight.shape[1:]) * _positions(call)
