"""Instructions of a Cortex-M as the cycle models see them: which unit, which registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Unit(StrEnum):
    """What executes an instruction."""

    LOAD = "load"
    STORE = "store"
    MAC = "multiply"
    DIVIDE = "divide"
    SIMD = "simd"
    ALU = "alu"
    BRANCH = "branch"
    FLOAT = "float"
    FLOAT_DIVIDE = "float_divide"
    IF_THEN = "if_then"


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        mnemonic: as a disassembler writes it.
        unit: what executes it.
        moved: registers that a load or store moves; 0 for others.
        reads: registers that it reads, condition flags left out.
        writes: registers that it writes, condition flags left out.
        loads: those of them that get a value from memory; a moved base address is none.
        shifts: whether an operand is shifted on its way.
    """

    mnemonic: str
    unit: Unit
    moved: int = 0
    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()
    loads: frozenset[int] = frozenset()
    shifts: bool = False


class CycleModel(Protocol):
    """Cycles of straight code, and of leaving it."""

    taken_branch_cycles: int
    """On top of a branch instruction, where it goes elsewhere."""

    def block_cycles(self, block: Sequence[Instruction]) -> int:
        """Cycles of instructions that run one after the other, from memory without wait states."""
        ...
