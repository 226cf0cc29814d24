"""Weights in fewer bits than their width: a prefix code that standard operators can undo.

Rounded weights use their levels unevenly: of MobileNetV2's weights at 5 bits, in steps that hardly
clip any, an ideal code takes 3.60 bits a weight (Shannon 1948; networks in Huffman's code are from
Han et al. 2016, "Deep Compression"). A Huffman decoder goes bit by bit, and no ONNX operator does.
So code words here may end in a few places only, the *stages*, and each stage is read for all
weights at once: ``bits`` bits for everything that is still open, of which the most frequent symbols
are resolved and the rest stays open. With six stages MobileNetV2's weights at 3 to 8 bits take
0.5 % more than in Huffman's code at most.

Where levels are few, a symbol is several neighbouring weights: one alone would take at least a bit.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import Int8Array

_STAGES = 6
_STAGE_BITS = 8  # at most, in one stage
_LARGEST_ALPHABET = 64  # of symbols of several weights; single weights have up to 256
_WIDEST_GROUP = 3
STAGE_BYTES = 480
"""What a stage's operators and constants take in a file beside its bits, about."""
FIXED_BYTES = 260
"""The same for what a width needs once."""

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """What is read at once for all symbols that are open.

    Attributes:
        bits: for each of them.
        resolved: so many symbols, the next ones by frequency, end here.
    """

    bits: int
    resolved: int


@dataclass(frozen=True)
class CodedWeights:
    """A vector of weights in code.

    Attributes:
        symbols: (count, group): the weights that each symbol stands for, most frequent first.
        stages: in order; the last resolves all that is left.
        streams: for each stage (open symbols,): its bits as integers below 2^bits.
        size: number of weights; the last symbol may stand for more.
    """

    symbols: Int8Array
    stages: tuple[Stage, ...]
    streams: tuple[Ranks, ...]
    size: int

    @property
    def stored_bytes(self) -> int:
        """Bits of all stages, each of their planes padded to whole bytes, and the symbols."""
        planes = zip(self.stages, self.streams, strict=True)
        bits = sum(stage.bits * math.ceil(stream.size / 8) for stage, stream in planes)
        return bits + self.symbols.nbytes

    @property
    def file_bytes(self) -> int:
        """What they take in a file, with the operators that undo the code."""
        return self.stored_bytes + STAGE_BYTES * len(self.stages) + FIXED_BYTES


def encoded(values: Int8Array, bits: int) -> CodedWeights:
    """The smallest code found for weights of a width, for any number of them but none.

    >>> weights = np.array([0] * 7000 + [1] * 700 + [-1] * 300, np.int8)
    >>> found = encoded(weights, 4)
    >>> found.symbols.tolist(), [stream.size for stream in found.streams], found.stored_bytes
    ([[0], [1], [-1]], [8000, 1000], 1128)
    """
    vector = values.reshape(-1)
    groups = range(1, _WIDEST_GROUP + 1)
    fitting = [n for n in groups if n == 1 or (1 << bits * n) <= _LARGEST_ALPHABET]
    return min((_in_groups(vector, group) for group in fitting), key=_file_bytes)


def decoded(code: CodedWeights) -> Int8Array:
    """The vector of weights; what the exported operators do, step by step."""
    ranks = _resolved(code, 0, code.streams[0])
    vector: Int8Array = code.symbols[ranks].reshape(-1)[: code.size]
    return vector


def _resolved(code: CodedWeights, number: int, words: Ranks) -> Ranks:
    """Ranks of the symbols whose words at a stage are given."""
    before = sum(stage.resolved for stage in code.stages[:number])
    ranks, stage = words + before, code.stages[number]
    if number + 1 < len(code.stages):
        still_open = np.flatnonzero(words >= stage.resolved)
        longer = (words[still_open] - stage.resolved) << code.stages[number + 1].bits
        ranks[still_open] = _resolved(code, number + 1, longer + code.streams[number + 1])
    return ranks


def _file_bytes(code: CodedWeights) -> int:
    return code.file_bytes


def _in_groups(vector: Int8Array, group: int) -> CodedWeights:
    padded = np.concatenate([vector, np.zeros(-vector.size % group, np.int8)])
    # One number for each group, whose bytes are its weights.
    powers = 1 << 8 * np.arange(group)
    numbers = padded.view(np.uint8).reshape(-1, group).astype(np.int64) @ powers
    found, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    stages = best_stages(tuple(int(count) for count in counts[order]))
    streams = tuple(_streams(stages, ranks[inverse]))
    symbols = (found[order, None] // powers % 256).astype(np.uint8).view(np.int8)
    return CodedWeights(symbols, stages, streams, vector.size)


def _streams(stages: Sequence[Stage], ranks: Ranks) -> Iterator[Ranks]:
    """The bits of each stage, for the symbols that are open there."""
    ends = list(itertools.accumulate(stage.resolved for stage in stages))
    words = np.zeros((len(stages), ends[-1]), np.int64)
    for number, end in enumerate(ends):
        # A symbol that ends here has its place as word; the open word before it follows from that.
        word = np.arange(stages[number].resolved)
        for earlier in range(number, -1, -1):
            bits = stages[earlier].bits
            words[earlier, end - stages[number].resolved : end] = word & ((1 << bits) - 1)
            word = (word >> bits) + (stages[earlier - 1].resolved if earlier else 0)
    starts = [0, *ends[:-1]]
    for number, start in enumerate(starts):
        yield words[number, ranks[ranks >= start]]


def best_stages(counts: Sequence[int]) -> tuple[Stage, ...]:
    """The stages that take the fewest bytes, with what their operators take in a file.

    Args:
        counts: how often each symbol occurs, not rising.
    """
    behind = [*itertools.accumulate(reversed(counts), initial=0)][::-1]
    stage_bits = 8 * STAGE_BYTES

    @functools.cache
    def best(first: int, open_words: int, left: int) -> tuple[float, tuple[Stage, ...]]:
        """Bits for the symbols from ``first`` on, behind so many words that are still open."""
        rest = len(counts) - first
        least: tuple[float, tuple[Stage, ...]] = (math.inf, ())
        for bits in range(1, _STAGE_BITS + 1):
            words, own = open_words << bits, behind[first] * bits + stage_bits
            if words >= rest:
                return min(least, (own, (Stage(bits, rest),)), key=itemgetter(0))
            for stay in range(1, words + 1) if left > 1 else ():
                cost, stages = best(first + words - stay, stay, left - 1)
                if own + cost < least[0]:
                    least = (own + cost, (Stage(bits, words - stay), *stages))
        return least

    return best(0, 1, _STAGES)[1]
