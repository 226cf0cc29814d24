"""Cycles of a Cortex-M7: a heuristic, since Arm publishes no table of them.

What is published (Arm DDI 0489F, section 1.2) is a pipeline that issues up to two instructions a
cycle, in order, with one multiplier, one shifter beside two adders, 64-bit loads, and predicted
branches. The rules below follow from that. Limits:

- Pairs are formed greedily within straight code.
- A loaded register can be read a cycle later than others; the result of a multiply-accumulate can
  be read in the next cycle.
- Memory answers at once, as tightly coupled memory or a cache that holds everything does.
- A taken branch costs 1 cycle, and none is predicted wrongly.
- A division takes 6 cycles.
"""

from __future__ import annotations

from collections.abc import Sequence

from sigmaquant.profiling.instructions import Instruction, Unit

_MOST_AT_ONCE = 2
_WORDS_PER_CYCLE = 2
_CYCLES = {Unit.DIVIDE: 6, Unit.FLOAT_DIVIDE: 14}
_MEMORY = (Unit.LOAD, Unit.STORE)


class CortexM7:
    """In order, up to two instructions a cycle."""

    taken_branch_cycles = 1

    def block_cycles(self, block: Sequence[Instruction]) -> int:
        """As ``CycleModel.block_cycles``."""
        ready: dict[int, int] = {}
        together: list[Instruction] = []
        now = free = 0
        for instruction in block:
            needed = max((ready.get(register, 0) for register in instruction.reads), default=0)
            if needed <= now and _fits(together, instruction):
                together.append(instruction)
            else:
                now, together = max(free, needed), [instruction]
            free = max(free, now + _cycles(instruction))
            available = now + _cycles(instruction)
            ready.update(dict.fromkeys(instruction.writes, available))
            ready.update(dict.fromkeys(instruction.loads, available + 1))
        return free


def _cycles(instruction: Instruction) -> int:
    """Until another instruction can use the unit."""
    if instruction.unit in _MEMORY:
        return -(-instruction.moved // _WORDS_PER_CYCLE)
    return _CYCLES.get(instruction.unit, 1)


def _fits(together: Sequence[Instruction], instruction: Instruction) -> bool:
    """Whether the cycle has room: no unit is used twice, and no register is written twice."""
    if not together or len(together) == _MOST_AT_ONCE:
        return False
    (first,) = together
    ports = _port(first), _port(instruction)
    one_each = ports[0] != ports[1] or ports[0] is Unit.ALU
    short = _cycles(first) == _cycles(instruction) == 1
    return one_each and short and not first.writes & instruction.writes


def _port(instruction: Instruction) -> Unit:
    """What only one instruction a cycle can use; of plain operations, two can run."""
    if instruction.unit in _MEMORY:
        return Unit.LOAD
    if instruction.unit is Unit.ALU and instruction.shifts:
        return Unit.SIMD
    return Unit.FLOAT if instruction.unit is Unit.FLOAT_DIVIDE else instruction.unit
