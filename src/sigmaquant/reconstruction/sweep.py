"""``reconstruct``: one block after the other, from the network's inputs to its outputs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration import Batch, read_batches, samples_of
from sigmaquant.divergence import divergence
from sigmaquant.errors import ArtifactError, ConfigError, DataError
from sigmaquant.network import Network
from sigmaquant.network.runner import flatten
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import PlanQuantizer, QuantizedNetwork, check_rounding
from sigmaquant.reconstruction.blocks import Block, find_blocks
from sigmaquant.reconstruction.importance import importance
from sigmaquant.reconstruction.running import QuantizedBlock, Stream, run_float
from sigmaquant.reconstruction.tuning import Samples, Tuner, mean_error

_MINIBATCH = 32  # samples, where the network runs any number
_HELD_BACK = 0.2  # of the samples
_STREAM_BYTES = 2**29  # of the values of all samples at one place, in float or quantized

_log = logging.getLogger(__name__)


def reconstruct(
    network: Network,
    start: QuantizedNetwork,
    calibration: Iterable[Any],
    *,
    steps: int = 600,
    rounding: str = "compensated",
    seed: int = 0,
) -> QuantizedNetwork:
    """Learn the rounding of a quantized network block by block: no labels, no training data.

    Blocks are cut where a single tensor goes on (``find_blocks``). In each, weights choose between
    the level that they have and a neighbour, so that on the inputs that the blocks before it give,
    its outputs match the float network's where that matters to the loss. A fifth of the samples is
    held back: a block on whose change they don't gain stays as it was, and where they lose more by
    the whole network than by the start, a copy of the start is returned. Behind a block that has
    changed, the next is rounded anew before it is tuned.

    Of all samples only the values between two blocks are kept, in float and quantized; where they
    take too much memory, fewer samples are used.

    Args:
        network: the captured float network.
        start: what ``quantize`` made of it; left as it is.
        calibration: a loader of inputs; a few hundred samples.
        steps: minibatches that each block is tuned on.
        rounding: of the start. Blocks behind one that has changed are rounded anew, in "coded"
            where the start was, else error-compensated for what they are given now.
        seed: of every random draw.

    Raises:
        ConfigError: not one step, or an unknown rounding.
        DataError: see ``read_batches``; or fewer samples than two batches of the network.
        ArtifactError: the start was made from another network.
    """
    if steps < 1:
        raise ConfigError(f"steps has to be at least 1, not {steps}")
    if start.network.digest() != network.digest():
        raise ArtifactError("the start was made from another network; quantize this one first")
    check_rounding(rounding)
    batches = read_batches(calibration, network, what="calibration")
    return _Sweep(network, start, batches, steps, rounding, seed).run()


class _Sweep:
    """All samples on their way from block to block, in float and quantized.

    Args:
        network, start, steps, rounding, seed: see ``reconstruct``.
        batches: the calibration data.
    """

    def __init__(
        self,
        network: Network,
        start: QuantizedNetwork,
        batches: Sequence[Batch],
        steps: int,
        rounding: str,
        seed: int,
    ) -> None:
        self._network = network
        self._start = start
        self._tuned = start.copy()
        anew = "coded" if rounding == "coded" else "compensated"
        self._quantizer = PlanQuantizer(network, batches, anew)
        self._batch_size = network.batch_size or _MINIBATCH
        generator = torch.Generator().manual_seed(seed)
        self._tuner = Tuner(steps, self._batch_size, generator)
        self._blocks = [QuantizedBlock(block, self._tuned) for block in find_blocks(network)]
        inputs = _drawn(batches, self._most_samples(), network.batch_size or 1, generator)
        self._held_rows, self._kept_rows = _split(len(inputs[0]), network.batch_size or 1)
        self._float: Stream = dict(zip(network.runner().inputs, inputs, strict=True))
        self._integer: Stream = dict(self._float)
        kept = tuple(values[self._kept_rows] for values in inputs)
        places = {node for block in self._blocks for node in block.block.outputs}
        parts = zip(*(values.split(self._batch_size) for values in kept), strict=True)
        self._importance = importance(network, [Batch(part) for part in parts], places, seed)
        self._held = tuple(values[self._held_rows] for values in inputs)
        self._changed = False

    def run(self) -> QuantizedNetwork:
        """Improve every block; the result, which may be as the start."""
        with progress_bar("reconstructing", len(self._blocks)) as advance:
            for index, block in enumerate(self._blocks):
                read = block.block.inputs
                exact = self._mapped(
                    partial(run_float, block.block, self._network.module), self._float, read
                )
                self._improve(block, exact)
                integer = self._mapped(block, self._integer, read)
                later = [other.block for other in self._blocks[index + 1 :]]
                self._float = _read_later(self._float | exact, later)
                self._integer = _read_later(self._integer | integer, later)
                advance()
        before, after = self._divergence(self._start), self._divergence(self._tuned)
        _log.info("held-back loss %.5g, after reconstruction %.5g", before, after)
        return self._tuned if after <= before else self._start.copy()

    def _improve(self, block: QuantizedBlock, exact: Stream) -> None:
        """Round a block anew where those before it have changed, then tune it."""
        targets = {
            node: value
            for node, value in exact.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        if not block.layers or not targets:
            return
        inputs = {node: self._integer[node] for node in block.block.inputs}
        returned = frozenset(self._network.module.graph.output_node().all_input_nodes)
        samples = Samples(inputs, targets, self._importance, returned)
        if self._changed:
            again = partial(self._quantizer.round_anew, self._tuned, frozenset(block.layers))
            self._kept_if_better(block, samples, again)
        tune = partial(self._tuner.tune, block, samples.at(self._kept_rows))
        self._changed |= self._kept_if_better(block, samples, tune)

    def _kept_if_better(
        self, block: QuantizedBlock, samples: Samples, change: Callable[[], None]
    ) -> bool:
        """Whether a change lowers the held-back error; if not, it is undone."""
        held, state = samples.at(self._held_rows), self._tuned.state()
        before = mean_error(block, held, self._batch_size)
        change()
        after = mean_error(block, held, self._batch_size)
        _log.debug("%s: held-back error %.4g -> %.4g", ", ".join(block.layers), before, after)
        if after < before:
            return True
        self._tuned.restore(state)
        return False

    def _mapped(
        self, run: Callable[[Stream], Stream], stream: Stream, read: Sequence[Node]
    ) -> Stream:
        """What a block makes of all samples, minibatch by minibatch."""
        parts = zip(*(stream[node].split(self._batch_size) for node in read), strict=True)
        with torch.no_grad():
            made = [run(dict(zip(read, part, strict=True))) for part in parts]
        return {node: torch.cat([outputs[node] for outputs in made]) for node in made[0]}

    def _most_samples(self) -> int:
        """Samples whose values fit the memory, wherever they are between two blocks."""
        places = [block.block.outputs for block in self._blocks]
        sizes = [sum(math.prod(node.meta["shape"] or ()) for node in nodes) for nodes in places]
        return _STREAM_BYTES // (4 * max(sizes))

    def _divergence(self, quantized: QuantizedNetwork) -> float:
        """The mean over the held-back samples."""
        parts = zip(*(values.split(self._batch_size) for values in self._held), strict=True)
        with torch.no_grad():
            losses = [
                divergence(self._network(*part), tuple(flatten(quantized(*part)))) for part in parts
            ]
        return float(torch.cat(losses).mean())


def _drawn(
    batches: Sequence[Batch], most: int, unit: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Inputs of so many samples at most, in random order: (samples, ...) each."""
    columns = zip(*(batch.inputs for batch in batches), strict=True)
    units = samples_of(batches) // unit
    if units < 2:
        raise DataError(
            f"{samples_of(batches)} samples cannot be split into samples to tune blocks on and "
            f"held-back ones; give at least {2 * unit}, better 256"
        )
    order = torch.randperm(units, generator=generator)[: max(most // unit, 2)]
    rows = (order[:, None] * unit + torch.arange(unit)).flatten()
    return tuple(torch.cat(column)[rows] for column in columns)


def _split(samples: int, unit: int) -> tuple[Tensor, Tensor]:
    """Rows that are held back, at least one unit, and the others."""
    held = unit * max(round(samples // unit * _HELD_BACK), 1)
    return torch.arange(held), torch.arange(held, samples)


def _read_later(stream: Stream, blocks: Iterable[Block]) -> Stream:
    read = {node for block in blocks for node in block.inputs}
    return {node: value for node, value in stream.items() if node in read}
