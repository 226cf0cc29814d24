"""Where each buffer lies in the arena: two that are needed at the same time never overlap.

Offsets are assigned one buffer after the other, each at the lowest place where it fits (Pisarchyk
& Lee, "Efficient memory management for deep neural net inference", 2020, greedy by size), for
several orders, of which the best is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sigmaquant.export.c.schedule import Call, Schedule
from sigmaquant.lowering.program import Add, Clamp, Lookup

ALIGNMENT = 4
"""Bytes: the kernels' loads of words are fast at multiples of it."""

_IN_PLACE = (Add, Clamp, Lookup)


@dataclass(frozen=True)
class Arena:
    """The plan of the memory.

    Attributes:
        offsets: of each buffer, in bytes; buffers of the caller are not in it.
        size_bytes: of the whole.
        live_bytes: largest sum of the buffers that one call needs or keeps; no arena is smaller.
    """

    offsets: dict[str, int]
    size_bytes: int
    live_bytes: int


@dataclass(frozen=True)
class _Buffer:
    """A memory and the calls, by index, between which it holds something."""

    name: str
    size_bytes: int
    first: int
    last: int

    def overlaps(self, other: _Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan_arena(plan: Schedule) -> Arena:
    """Offsets for everything that is not the caller's."""
    homes = _homes(plan)
    buffers = _buffers(plan, homes)
    orders = (
        lambda b: (-b.size_bytes, b.first),
        lambda b: (-b.size_bytes * (b.last - b.first + 1), b.first),
        lambda b: (b.first - b.last, -b.size_bytes),
        lambda b: (b.first, -b.size_bytes),
        lambda b: (-b.last, -b.size_bytes),
    )
    plans = [_placed(sorted(buffers, key=order)) for order in orders]
    size_bytes, offsets = min(plans, key=lambda plan: plan[0])
    return Arena(
        offsets={name: offsets[home] for name, home in homes.items()},
        size_bytes=size_bytes,
        live_bytes=_live_bytes(buffers, len(plan.calls)),
    )


def _homes(plan: Schedule) -> dict[str, str]:
    """For each buffer of the arena the one whose memory it takes over, or itself.

    Operators that work element by element write over an input that nothing reads any more and
    whose values take no fewer bits, so that no value is overwritten before it has been read.
    """
    foreign = {tensor.buffer for tensor in (*plan.inputs, *plan.outputs)}
    last_read = _last_read(plan.calls)
    homes: dict[str, str] = {}
    for index, call in enumerate(plan.calls):
        if call.output.buffer in foreign:
            continue
        free = (
            tensor.buffer
            for tensor in call.inputs
            if isinstance(call.operator, _IN_PLACE)
            and tensor.bits >= call.output.bits
            and last_read[tensor.buffer] == index
            and tensor.buffer not in foreign
        )
        own = call.output.buffer
        homes[own] = homes.get(next(free, own), own)
    return homes


def _last_read(calls: Sequence[Call]) -> dict[str, int]:
    return {tensor.buffer: i for i, call in enumerate(calls) for tensor in call.inputs}


def _buffers(plan: Schedule, homes: Mapping[str, str]) -> list[_Buffer]:
    last_read = _last_read(plan.calls)
    found: dict[str, _Buffer] = {}
    for index, call in enumerate(plan.calls):
        name = call.output.buffer
        if name in homes:
            home, last = homes[name], last_read.get(name, index)
            size = -(-call.output.bytes // ALIGNMENT) * ALIGNMENT
            known = found.get(home, _Buffer(home, size, index, last))
            found[home] = _Buffer(home, known.size_bytes, known.first, max(known.last, last))
    return list(found.values())


def _placed(buffers: Iterable[_Buffer]) -> tuple[int, dict[str, int]]:
    """The size of the whole and the offsets, in the order given."""
    placed: list[tuple[int, _Buffer]] = []
    for buffer in buffers:
        offset = 0
        neighbours = sorted(
            ((o, b) for o, b in placed if b.overlaps(buffer)), key=lambda pair: pair[0]
        )
        for start, other in neighbours:
            if offset + buffer.size_bytes <= start:
                break
            offset = max(offset, start + other.size_bytes)
        placed.append((offset, buffer))
    size = max((offset + buffer.size_bytes for offset, buffer in placed), default=0)
    return size, {buffer.name: offset for offset, buffer in placed}


def _live_bytes(buffers: Sequence[_Buffer], calls: int) -> int:
    return max(
        (sum(b.size_bytes for b in buffers if b.first <= i <= b.last) for i in range(calls)),
        default=0,
    )
