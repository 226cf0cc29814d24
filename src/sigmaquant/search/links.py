"""Layers whose choices depend on how wide their inputs are, and what ties them to these inputs.

Such a layer has a choice for each pair of a weight width and an input width. Its input is as wide
as the widest of the groups that it reads, so the groups' choices say which of the pairs a plan can
have. In an integer program that is a few rows for each layer; they make the product of the two
widths linear, as McCormick's rows do for binaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sigmaquant.search.arrays import FloatArray, IntArray

_WIDEST_ACTIVATION, _WIDEST_WEIGHT = 16, 8


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer whose choices depend on the widths of its inputs.

    Attributes:
        slot: of the layer.
        groups: slots of the groups that it reads and whose width is chosen.
        floor: width of its widest input of fixed width; 0 where there is none.
        at: (17, 9) its choice by input width and weight width: where the device lacks the weight
            width there, the next wider or the widest; -1 where it lacks the input width.
    """

    slot: int
    groups: tuple[int, ...]
    floor: int
    at: IntArray


@dataclass(frozen=True, eq=False)
class Links:
    """What a plan has to keep so that its layers and groups agree: sums of at most 0.

    A row's sum is that of ``coefficient`` over the chosen ones of its entries.

    Attributes:
        readers: the layers that depend on their inputs.
        starts: (rows + 1,) first entry of each row.
        choice: (entries,) choice.
        coefficient: (entries,) 1 or -1.
    """

    readers: tuple[Reader, ...]
    starts: IntArray
    choice: IntArray
    coefficient: FloatArray

    @classmethod
    def of(
        cls, readers: Sequence[Reader], starts: IntArray, slot: IntArray, activation_bits: IntArray
    ) -> Links:
        """The rows of these layers; arrays as in ``Choices``."""
        rows = [row for reader in readers for row in _rows(reader, starts, activation_bits)]
        return cls(
            readers=tuple(readers),
            starts=np.cumsum([0, *(len(above) + len(below) for above, below in rows)]),
            choice=np.concatenate([np.concatenate(row) for row in rows] or [slot[:0]]),
            coefficient=np.concatenate(
                [np.repeat([1.0, -1.0], [len(above), len(below)]) for above, below in rows]
                or [np.empty(0)]
            ),
        )

    @cached_property
    def readers_of(self) -> dict[int, tuple[Reader, ...]]:
        """The layers that read each group, by the group's slot."""
        groups = {group for reader in self.readers for group in reader.groups}
        return {g: tuple(r for r in self.readers if g in r.groups) for g in groups}

    def affected(self, slot: int) -> tuple[int, ...]:
        """The slots whose changes are others once this one has changed, itself first."""
        return self._affected.get(slot, (slot,))

    @cached_property
    def _affected(self) -> dict[int, tuple[int, ...]]:
        readers = {reader.slot: (reader.slot, *reader.groups) for reader in self.readers}
        groups = {
            group: tuple(dict.fromkeys([group, *(s for r in own for s in readers[r.slot])]))
            for group, own in self.readers_of.items()
        }
        return {**readers, **groups}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def only(self, kept: IntArray) -> Links:
        """The rows for some of the choices, numbered anew: (kept,), ascending."""
        here = np.isin(self.choice, kept)
        counts = np.concatenate([[0], np.cumsum(here)])
        return Links(
            readers=(),
            starts=counts[self.starts],
            choice=np.searchsorted(kept, self.choice[here]),
            coefficient=self.coefficient[here],
        )

    def priced(self, prices: FloatArray, count: int) -> FloatArray:
        """What each choice pays at these prices of the rows: (rows,) to (count,)."""
        paid = np.repeat(prices, np.diff(self.starts)) * self.coefficient
        return np.bincount(self.choice, paid, minlength=count).astype(float)


def reader_of(
    slot: int, groups: Sequence[int], floor: int, options: Sequence[tuple[int, int]], first: int
) -> Reader:
    """A layer with its choices as pairs of weight and input width, ``first`` on.

    >>> int(reader_of(0, [1], 0, [(2, 4), (8, 4), (8, 8)], 0).at[8, 2])
    2
    """
    at = np.full((_WIDEST_ACTIVATION + 1, _WIDEST_WEIGHT + 1), -1, dtype=np.int64)
    for input_bits in {width for _, width in options}:
        own = [(bits, first + i) for i, (bits, width) in enumerate(options) if width == input_bits]
        for bits in range(_WIDEST_WEIGHT + 1):
            at[input_bits, bits] = next((c for b, c in own if b >= bits), own[-1][1])
    return Reader(slot, tuple(groups), floor, at)


def _rows(
    reader: Reader, starts: IntArray, activation_bits: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Pairs of choices: of the first no more may be taken than of the second."""
    own = np.arange(starts[reader.slot], starts[reader.slot + 1])
    groups = [np.arange(starts[group], starts[group + 1]) for group in reader.groups]
    width = np.maximum(activation_bits, reader.floor)
    inputs = np.unique(activation_bits[own])
    for bits in inputs:  # one input, at least, is as wide as the layer takes it
        yield own[width[own] == bits], np.concatenate([g[width[g] == bits] for g in groups])
    if len(groups) > 1:  # and none is wider
        for bits in inputs[:-1]:
            for group in groups:
                yield own[width[own] <= bits], group[width[group] <= bits]
