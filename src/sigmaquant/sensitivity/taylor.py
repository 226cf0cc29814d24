"""``taylor``: the expected loss rise to second order, from one backward pass.

The Fisher matrix F is the Hessian of the KL divergence at the float network, so the rise caused by
a small change dW of one layer is 1/2 dz^T F dz with dz the change of the layer's output z (the same
expansion as in Hassibi & Stork 1993, eq. 1). A scalar whose gradient at z is a random g with
E[g g^T] = F turns this into 1/2 E[(g . dz)^2]. g . dz is linear in dW: it is the inner product of
the sample's own weight gradient with dW. So each sample's weight gradient is formed once, and any
number of candidates costs one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch
from sigmaquant.divergence import (
    Distillation,
    Outputs,
    Rises,
    UserLoss,
    batch_loss,
    is_class_score,
    log_probabilities,
    sample_losses,
)
from sigmaquant.network import Network
from sigmaquant.network.normalise import arguments_of
from sigmaquant.network.operators import CONVOLUTIONS
from sigmaquant.network.runner import Values
from sigmaquant.quantizers import AffineRange, fake_quantize
from sigmaquant.sensitivity.accumulate import BatchRises
from sigmaquant.sensitivity.candidates import Candidate, Candidates, layer_weight
from sigmaquant.sensitivity.per_sample import weight_gradients

_GRADIENT_ELEMENTS = 2**26  # per-sample weight gradients held at once: 256 MiB of float32


@dataclass(frozen=True)
class TaylorMetric:
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
        """See ``Metric.rises``."""
        values, outputs = _differentiable_run(network, batch, bool(candidates.encodings))
        reference = tuple(output.detach() for output in outputs)
        before = sample_losses(reference, reference, batch, loss)
        objective = random_objective(outputs, batch, loss, seed)
        differentiable = [node for node, value in values.items() if value.requires_grad]
        gradients = torch.autograd.grad(
            objective, [values[node] for node in differentiable], allow_unused=True
        )
        run = _Run(network, values, dict(zip(differentiable, gradients, strict=True)))
        weights: Rises = {}
        with torch.no_grad():
            for layer, by_width in candidates.weights.items():
                weights[layer] = _halved_squares(by_width, run.weight_changes(layer, by_width))
                advance()
            activations = {
                group: _halved_squares(by_width, run.activation_changes(group, by_width))
                for group, by_width in candidates.encodings.items()
            }
        return BatchRises(weights, activations, before, independent=len(batch))


def _halved_squares(widths: Iterable[int], changes: Tensor) -> dict[int, Tensor]:
    return dict(zip(widths, (0.5 * changes.square()).unbind(1), strict=True))


def random_objective(outputs: Outputs, batch: Batch, loss: UserLoss | None, seed: int) -> Tensor:
    """A scalar whose gradient's squares average to the loss's second derivative."""
    if isinstance(loss, Distillation):
        outputs = loss.view(outputs, tuple(output.detach() for output in outputs))
    elif loss is not None:
        return batch_loss(loss, outputs, batch) * len(batch)
    generator = torch.Generator().manual_seed(seed)
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


def _differentiable_run(
    network: Network, batch: Batch, activations: bool
) -> tuple[Values, Outputs]:
    """The values that are asked for, and a graph of gradients that starts as late as it can."""
    runner = network.runner()
    layers = {call for calls in network.layer_nodes().values() for call in calls}
    changed = layers | set(network.encodings.sites) if activations else layers
    wanted = changed | {source for call in layers for source in call.all_input_nodes}
    kept: Values = {}

    def keep(node: Node, value: Tensor) -> Tensor:
        if node in changed and not value.requires_grad and value.is_floating_point():
            # A leaf of its own: the data must not be marked.
            value = value.detach().requires_grad_()
        if node in wanted:
            kept[node] = value
        return value

    return kept, runner.watch(batch.inputs, keep)


@dataclass(frozen=True)
class _Run:
    """One batch, forward and backward.

    Attributes:
        network: the float network.
        values: of layers, their inputs and quantized sites.
        gradients: of the objective by the differentiable ones of them; None where it is zero.
    """

    network: Network
    values: Values
    gradients: Mapping[Node, Tensor | None]

    def weight_changes(self, layer: str, candidates: Mapping[int, Candidate]) -> Tensor:
        """G . dz of every sample and width: (samples, widths)."""
        calls = self.network.layer_nodes()[layer]
        weight = layer_weight(self.network, calls[0])
        steps = torch.stack([(c.weight - weight).flatten() for c in candidates.values()], dim=1)
        shifts = torch.stack([c.bias_shift for c in candidates.values()], dim=1)
        total = torch.zeros(len(self.values[calls[0]]), len(candidates))
        for call in calls:
            gradient = self.gradients[call]
            if gradient is not None:
                source = self.values[arguments_of(call)[0]].detach()
                total += _inner_products(call, weight, gradient, source, steps, shifts)
        return total

    def activation_changes(self, group: str, encodings: Mapping[int, AffineRange]) -> Tensor:
        """G . dx of every sample and width, summed over the group's sites: (samples, widths)."""
        encoded = self.network.encodings
        sites = [site for site in encoded.sites if encoded.groups[site] == group]
        total = torch.zeros(len(self.values[sites[0]]), len(encodings))
        for site in sites:
            gradient, value = self.gradients[site], self.values[site].detach()
            if gradient is None:
                continue
            for column, encoding in enumerate(encodings.values()):
                change = fake_quantize(value, encoding) - value
                total[:, column] += torch.linalg.vecdot(gradient.flatten(1), change.flatten(1))
        return total


def _inner_products(
    call: Node, weight: Tensor, gradient: Tensor, source: Tensor, steps: Tensor, shifts: Tensor
) -> Tensor:
    """Of each sample's weight and bias gradient with every candidate's step: (samples, widths)."""
    products = []
    size = max(1, _GRADIENT_ELEMENTS // weight.numel())
    for g, x in zip(gradient.split(size), source.split(size), strict=True):
        own = weight_gradients(call, tuple(weight.shape), g, x)
        products.append(own @ steps + _position_sums(call, g) @ shifts)
    return torch.cat(products)


def _position_sums(call: Node, gradient: Tensor) -> Tensor:
    """The gradient by the bias: (samples, out)."""
    by_channel = gradient if call.target in CONVOLUTIONS else gradient.movedim(-1, 1)
    return by_channel.reshape(*by_channel.shape[:2], -1).sum(-1)
