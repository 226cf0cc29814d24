"""Every width that can be chosen, as flat arrays: what all solvers compute on.

A *slot* is what gets one width: a layer its weights', a precision group its activations'. A
*choice* is one slot at one width. The choices of a slot are neighbours, in ascending width, so that
a plan is one index into the arrays for each slot, layers first.

Groups that can have one width only are no slots. Where a layer's costs or its weight widths depend
on how wide its inputs are, it has a choice for each pair of widths (see ``links``), and a plan's
choices have to agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sigmaquant.costs.table import ChoiceCost, CostTable
from sigmaquant.errors import DeviceError
from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.links import Links, Reader, reader_of
from sigmaquant.search.ram import RamRows

ADDITIVE = ("flash_bytes", "latency_ms", "energy_uj")
"""The metrics that are sums over layers."""
PEAK_RAM = "peak_ram_bytes"
"""The largest of several sums over groups; it does not depend on weights."""

_NO_COST = ChoiceCost(flash_bytes=0, latency_ms=0.0, energy_uj=0.0)
_Options = dict[tuple[int, int], ChoiceCost]
"""Costs of a slot's choices by weight and activation width; 0 where one of them does not matter."""


@dataclass(frozen=True, eq=False)
class Choices:
    """The choices of all slots, one after the other.

    Attributes:
        layers: names, in the cost table's order.
        groups: names of the groups whose width is chosen.
        starts: (slots + 1,) first choice of each slot; the last entry is their number.
        slot: (choices,) index of the choice's slot.
        weight_bits: (choices,) width of a layer's weights; 0 for groups.
        activation_bits: (choices,) width of a group's activations, or of the input that a layer's
            choice is for; 0 where a layer's choices hold for any input.
        costs: by additive metric, (choices,).
        fixed: by additive metric, what is spent outside the layers.
        ram: peak RAM.
        links: what makes the choices of layers and groups agree.
    """

    layers: tuple[str, ...]
    groups: tuple[str, ...]
    starts: IntArray
    slot: IntArray
    weight_bits: IntArray
    activation_bits: IntArray
    costs: Mapping[str, FloatArray]
    fixed: Mapping[str, float]
    ram: RamRows
    links: Links

    @classmethod
    def of(cls, costs: CostTable, widths: Mapping[str, tuple[int, ...]]) -> Choices:
        """The choices that the device has with these widths of each precision group.

        Raises:
            DeviceError: there is no layer, or a layer has no choice.
        """
        if not costs.choices:
            raise DeviceError(f"the cost table of {costs.device} has no layers: nothing to choose")
        options = {name: _layer_options(costs, name, widths) for name in costs.choices}
        groups = tuple(group for group, offered in widths.items() if len(offered) > 1)
        slots = [
            *options.values(),
            *({(0, bits): _NO_COST for bits in widths[group]} for group in groups),
        ]
        counts = [len(found) for found in slots]
        starts, slot = np.cumsum([0, *counts]), np.repeat(np.arange(len(counts)), counts)
        pairs = np.array([pair for found in slots for pair in found], dtype=np.int64)
        chosen = [cost for found in slots for cost in found.values()]
        readers = _readers(costs, widths, options, groups, starts)
        return cls(
            layers=tuple(options),
            groups=groups,
            starts=starts,
            slot=slot,
            weight_bits=pairs[:, 0],
            activation_bits=pairs[:, 1],
            costs={m: np.array([getattr(c, m) for c in chosen], dtype=float) for m in ADDITIVE},
            fixed={m: float(getattr(costs.fixed, m)) for m in ADDITIVE},
            ram=RamRows.of(
                costs,
                fixed={group: bits[0] for group, bits in widths.items() if len(bits) == 1},
                groups=_group_places(widths, groups, starts[len(options) : -1]),
                layers=_expanded_bytes(costs, options, starts, len(chosen)),
                count=len(chosen),
            ),
            links=Links.of(readers, starts, slot, pairs[:, 1]),
        )

    def __len__(self) -> int:
        return len(self.slot)

    @property
    def slots(self) -> int:
        """Number of slots: layers, and groups whose width is chosen."""
        return len(self.starts) - 1

    @property
    def decide_ram(self) -> bool:
        """Whether peak RAM depends on what is chosen."""
        return bool(self.ram.values.any())

    @cached_property
    def highest_peak(self) -> float:
        """Peak RAM of the plan with every group at its widest in memory."""
        widest = np.maximum.reduceat(self.ram.values, self.starts[:-1], axis=1)
        return float((widest.sum(axis=1) + self.ram.fixed).max())

    def only(self, kept: IntArray) -> Choices:
        """Some of the choices, ascending; at least one of each slot: (kept,)."""
        return Choices(
            layers=self.layers,
            groups=self.groups,
            starts=np.searchsorted(self.slot[kept], np.arange(self.slots + 1)),
            slot=self.slot[kept],
            weight_bits=self.weight_bits[kept],
            activation_bits=self.activation_bits[kept],
            costs={metric: values[kept] for metric, values in self.costs.items()},
            fixed=self.fixed,
            ram=self.ram.only(kept),
            links=self.links.only(kept),
        )

    def smallest(self, values: FloatArray) -> IntArray:
        """The choice of each slot with the smallest value, the narrowest at a tie: (slots,).

        Where layers depend on their inputs, these need not agree.
        """
        order = np.lexsort((np.arange(len(self)), values, self.slot))
        return order[self.starts[:-1]]

    def at_least(self, bits: IntArray | int) -> IntArray:
        """The choices of these widths, of one for all layers or (layers,) of them: (layers,).

        A layer that lacks its width gets the next wider one, or its widest.
        """
        wanted = np.broadcast_to(bits, len(self.layers))[self.slot]
        narrower = (self.weight_bits < wanted).astype(np.int64)
        short_of = np.add.reduceat(narrower, self.starts[:-1])
        return np.minimum(self.starts[:-1] + short_of, self.starts[1:] - 1)

    def total(self, metric: str, chosen: IntArray) -> float:
        """The cost of a plan, added in the order of ``CostTable.totals`` to the same last bit."""
        if metric == PEAK_RAM:
            return self.ram.peak(chosen)
        return sum(self.costs[metric][chosen].tolist(), self.fixed[metric])

    def bits(self, chosen: IntArray) -> dict[str, int]:
        """Weight width by layer name."""
        weights = self.weight_bits[chosen[: len(self.layers)]]
        return dict(zip(self.layers, weights.tolist(), strict=True))

    def group_bits(self, chosen: IntArray) -> dict[str, int]:
        """Activation width by name of the groups whose width is chosen."""
        activations = self.activation_bits[chosen[len(self.layers) :]]
        return dict(zip(self.groups, activations.tolist(), strict=True))

    def index(
        self, weight_bits: Mapping[str, int], group_bits: Mapping[str, int] | None = None
    ) -> IntArray:
        """The choices of a plan: (slots,); KeyError where the device lacks one."""
        place = {
            (slot, *pair): at
            for at, (slot, *pair) in enumerate(
                np.column_stack([self.slot, self.weight_bits, self.activation_bits]).tolist()
            )
        }
        first = len(self.layers)
        groups = [
            place[first + at, 0, (group_bits or {})[name]] for at, name in enumerate(self.groups)
        ]
        so_far = np.array([0] * first + groups)
        inputs = {reader.slot: self._input_bits(reader, so_far) for reader in self.links.readers}
        layers = [
            place[at, weight_bits[name], inputs.get(at, 0)] for at, name in enumerate(self.layers)
        ]
        return np.array([*layers, *groups], dtype=np.int64)

    def agreeing(self, chosen: IntArray) -> IntArray:
        """A plan with every layer at the width of its inputs: (slots,) to (slots,).

        Weight widths stay where the device has them at that input, else get wider.
        """
        agreed = chosen.copy()
        for reader in self.links.readers:
            bits = self.weight_bits[chosen[reader.slot]]
            agreed[reader.slot] = reader.at[self._input_bits(reader, chosen), bits]
        return agreed

    def changes(self, chosen: IntArray, slot: int) -> tuple[IntArray, IntArray]:
        """What giving a slot each of its choices changes, itself first.

        A layer can only have the choices for its present input; the layers that read a group go
        along with it, and keep their weight width where they can.

        Returns:
            The choices now, (changed,), and then, (changed, choices of the slot).
        """
        own = np.arange(self.starts[slot], self.starts[slot + 1])
        if slot < len(self.layers):
            own = own[self.activation_bits[own] == self.activation_bits[chosen[slot]]]
            return chosen[[slot]], own[None]
        readers = self.links.readers_of.get(slot, ())
        after = [own, *(self._followed(reader, chosen, slot, own) for reader in readers)]
        return chosen[[slot, *(reader.slot for reader in readers)]], np.array(after)

    def _followed(self, reader: Reader, chosen: IntArray, slot: int, own: IntArray) -> IntArray:
        others = [chosen[group] for group in reader.groups if group != slot]
        floor = max([reader.floor, *self.activation_bits[others].tolist()])
        widths = np.maximum(self.activation_bits[own], floor)
        return np.asarray(reader.at[widths, self.weight_bits[chosen[reader.slot]]])

    def _input_bits(self, reader: Reader, chosen: IntArray) -> int:
        inputs: list[int] = self.activation_bits[chosen[list(reader.groups)]].tolist()
        return max(reader.floor, *inputs)


def _layer_options(costs: CostTable, layer: str, widths: Mapping[str, tuple[int, ...]]) -> _Options:
    """The choices of a layer, for each width of its input where that makes a difference."""
    inputs = _input_widths([widths[group] for group in costs.input_groups[layer]])
    offered = costs.choices[layer]
    for width in inputs:
        if not any(width in by_input for by_input in offered.values()):
            raise DeviceError(_cannot_run(costs, layer, width))
    if all(len({by_input.get(width) for width in inputs}) == 1 for by_input in offered.values()):
        only = inputs[0]
        return {(bits, 0): offered[bits][only] for bits in sorted(offered) if only in offered[bits]}
    return {
        (bits, width): offered[bits][width]
        for bits in sorted(offered)
        for width in inputs
        if width in offered[bits]
    }


def _input_widths(groups: Sequence[tuple[int, ...]]) -> list[int]:
    """How wide the widest of several groups can be, ascending."""
    least = max(min(widths) for widths in groups)
    return sorted({bits for widths in groups for bits in widths if bits >= least})


def _cannot_run(costs: CostTable, layer: str, input_bits: int) -> str:
    widths = sorted({a for by_input in costs.choices[layer].values() for a in by_input})
    what = f"only with {', '.join(map(str, widths))}" if widths else "at no width"
    return f"{costs.device} cannot run layer {layer} with {input_bits}-bit activations: {what}"


def _readers(
    costs: CostTable,
    widths: Mapping[str, tuple[int, ...]],
    options: Mapping[str, _Options],
    groups: Sequence[str],
    starts: IntArray,
) -> list[Reader]:
    """The layers that have choices for several widths of their input."""
    slots = {group: len(options) + at for at, group in enumerate(groups)}
    readers = []
    for slot, (layer, pairs) in enumerate(options.items()):
        if any(width for _, width in pairs):
            read = dict.fromkeys(costs.input_groups[layer])
            chosen = [slots[group] for group in read if group in slots]
            floor = max((widths[group][0] for group in read if group not in slots), default=0)
            readers.append(reader_of(slot, chosen, floor, list(pairs), int(starts[slot])))
    return readers


def _expanded_bytes(
    costs: CostTable,
    options: Mapping[str, Mapping[tuple[int, int], ChoiceCost]],
    starts: IntArray,
    count: int,
) -> dict[str, FloatArray]:
    """By layer whose weights may be expanded in RAM, the bytes of its choices: (count,)."""
    found = {}
    for start, (layer, pairs) in zip(starts.tolist(), options.items(), strict=False):
        if layer in costs.expanded_bytes:
            own = costs.expanded_bytes[layer]
            found[layer] = np.zeros(count)
            found[layer][start : start + len(pairs)] = [own.get(bits, 0) for bits, _ in pairs]
    return found


def _group_places(
    widths: Mapping[str, tuple[int, ...]], groups: Sequence[str], firsts: IntArray
) -> dict[str, dict[int, int]]:
    """The choice of each width of each group."""
    return {
        group: {bits: first + at for at, bits in enumerate(widths[group])}
        for group, first in zip(groups, firsts.tolist(), strict=True)
    }
