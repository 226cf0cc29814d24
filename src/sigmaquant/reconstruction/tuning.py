"""Training one block's rounding and biases, so that its outputs match the float network's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Node

from sigmaquant.divergence import divergence
from sigmaquant.reconstruction.running import QuantizedBlock, Stream
from sigmaquant.reconstruction.soft_rounding import SoftRounding, beta_at, indecision

_ROUNDING_RATE = 0.02  # of V, in Adam's steps
_BIAS_RATE = 0.001  # relative to the bias's root mean square, as in fine-tuning
_SMALLEST_UNIT = 1e-8  # a bias of zeros has no size to step by and hardly moves
_INDECISION_WEIGHT = 100.0  # beside the block's error relative to that of its start
_SMALLEST_ERROR = 1e-12  # below, a block has nothing to gain, and no error to be relative to


@dataclass(frozen=True)
class Samples:
    """What a block is tuned on.

    Attributes:
        inputs: of the quantized block, (samples, ...) each.
        targets: the float block's floating-point outputs, (samples, ...) each.
        importance: of every place of a target, (1, ...); of those that the network returns none
            is needed.
        returned: which targets the network returns.
    """

    inputs: Stream
    targets: Mapping[Node, Tensor]
    importance: Mapping[Node, Tensor]
    returned: frozenset[Node]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def at(self, rows: Tensor) -> Samples:
        """Some of the samples."""
        inputs = {node: value[rows] for node, value in self.inputs.items()}
        targets = {node: value[rows] for node, value in self.targets.items()}
        return Samples(inputs, targets, self.importance, self.returned)

    def errors(self, outputs: Stream) -> Tensor:
        """(samples,): an estimate of what each loses, in the unit of ``divergence``.

        What the network returns counts as there, other values with sum_i importance_i dz_i^2.
        """
        losses = [self._lost(node, target, outputs[node]) for node, target in self.targets.items()]
        return torch.stack(losses).sum(0)

    def _lost(self, node: Node, target: Tensor, output: Tensor) -> Tensor:
        if node in self.returned:
            return divergence((target,), (output,))
        weight = self.importance.get(node)
        if weight is None:  # nothing that the network returns depends on it
            return torch.zeros(len(target))
        return ((output - target).square() * weight).flatten(1).sum(1)


@dataclass(frozen=True)
class Tuner:
    """How blocks are tuned.

    Attributes:
        steps: minibatches that each block is tuned on.
        batch_size: samples in a minibatch.
        generator: of every random draw.
    """

    steps: int
    batch_size: int
    generator: torch.Generator

    def tune(self, block: QuantizedBlock, samples: Samples) -> None:
        """Train the rounding and the biases of a block's own layers."""
        first = mean_error(block, samples, self.batch_size)
        if first < _SMALLEST_ERROR:
            return
        roundings = self._roundings(block, samples)
        optimizer = _optimizer(block, roundings)
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        for step, rows in zip(range(self.steps), self._draws(len(samples)), strict=False):
            done = step / self.steps
            for group in optimizer.param_groups:
                group["lr"] = group["unit"] * 0.5 * (1 + math.cos(math.pi * done))
            minibatch = samples.at(rows)
            weights = {layer: rounding.weight() for layer, rounding in roundings.items()}
            error = minibatch.errors(block(minibatch.inputs, weights)).mean() / first
            beta = beta_at(done)
            if beta is not None:
                error = error + _INDECISION_WEIGHT * indecision(roundings.values(), beta)
            optimizer.zero_grad(set_to_none=True)
            error.backward(inputs=trained)
            optimizer.step()
        _write(block, roundings)

    def _roundings(self, block: QuantizedBlock, samples: Samples) -> dict[str, SoftRounding]:
        gradients = self._weight_gradients(block, samples)
        roundings = {}
        for layer, gradient in gradients.items():
            quantizer = block.quantized.weight_quantizer(layer)
            levels = quantizer.levels(block.quantized.weight(layer)).float()
            scale = quantizer.safe_scale().detach()
            roundings[layer] = SoftRounding(levels, scale, quantizer.bits, gradient)
        return roundings

    def _weight_gradients(self, block: QuantizedBlock, samples: Samples) -> dict[str, Tensor]:
        """Of the error of all samples, by each of the block's own quantized weights."""
        network = block.quantized
        weights = {
            layer: network.weight_quantizer(layer)(network.weight(layer)).detach().requires_grad_()
            for layer in block.layers
        }
        for rows in torch.arange(len(samples)).split(self.batch_size):
            part = samples.at(rows)
            part.errors(block(part.inputs, weights)).sum().backward(inputs=list(weights.values()))
        return {layer: _gradient(weight) for layer, weight in weights.items()}

    def _draws(self, count: int) -> Iterator[Tensor]:
        """Minibatches without end; every row comes once before any comes again."""
        while True:
            # A network of a fixed batch size takes whole batches only.
            order = torch.randperm(count, generator=self.generator)
            yield from order[: max(count // self.batch_size, 1) * self.batch_size].split(
                self.batch_size
            )


def mean_error(block: QuantizedBlock, samples: Samples, batch_size: int) -> float:
    """The mean of ``Samples.errors`` as the block stands."""
    with torch.no_grad():
        parts = (samples.at(rows) for rows in torch.arange(len(samples)).split(batch_size))
        return float(torch.cat([part.errors(block(part.inputs)) for part in parts]).mean())


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _optimizer(block: QuantizedBlock, roundings: Mapping[str, SoftRounding]) -> torch.optim.Adam:
    groups: list[dict[str, object]] = [
        {"params": [rounding.variables for rounding in roundings.values()], "unit": _ROUNDING_RATE}
    ]
    for bias in _biases(block):
        size = max(float(bias.detach().square().mean().sqrt()), _SMALLEST_UNIT)
        groups.append({"params": [bias], "unit": _BIAS_RATE * size})
    return torch.optim.Adam(groups)


def _biases(block: QuantizedBlock) -> Sequence[nn.Parameter]:
    network = block.quantized
    calls = {layer: len(network.network.layer_nodes()[layer]) for layer in block.layers}
    found = [network.bias(layer, i) for layer, count in calls.items() for i in range(count)]
    return tuple(dict.fromkeys(bias for bias in found if isinstance(bias, nn.Parameter)))


def _write(block: QuantizedBlock, roundings: Mapping[str, SoftRounding]) -> None:
    """Put every weight in the middle of the level that it has come to."""
    with torch.no_grad():
        for layer, rounding in roundings.items():
            scale = block.quantized.weight_quantizer(layer).safe_scale()
            block.quantized.weight(layer).copy_(rounding.levels() * scale)
    block.quantized.raise_scales()
