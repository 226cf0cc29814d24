"""Cycles of a Cortex-M4, as its Technical Reference Manual gives them.

Arm DDI 0439B, table 3-1 and section 3.3.3. What the model leaves out, and what it assumes:

- Memory answers at once: no wait states of flash, no contention. What fetching weights costs on top
  is a figure of the profile (``latency.weight_fetch``).
- A taken branch refills the pipeline in 1 to 3 cycles, depending on where it goes: 2 here.
- A division takes 2 to 12 cycles, depending on its operands: 6 here.
- IT takes its cycle, though the processor sometimes folds it into the instruction before.
- An instruction whose condition fails takes the same cycles as one that runs.
- Loads and stores overlap within straight code only.
"""

from __future__ import annotations

from collections.abc import Sequence

from sigmaquant.profiling.instructions import Instruction, Unit

_CYCLES = {
    Unit.DIVIDE: 6,
    Unit.FLOAT_DIVIDE: 14,
}
_OF_MNEMONIC = {"vmla.f32": 3, "vmls.f32": 3, "vfma.f32": 3, "vfms.f32": 3}


class CortexM4:
    """In order, one instruction a cycle; loads take two unless another access comes before."""

    taken_branch_cycles = 2

    def block_cycles(self, block: Sequence[Instruction]) -> int:
        """As ``CycleModel.block_cycles``."""
        cycles, overlapped = 0, False
        for instruction in block:
            cycles += self._cycles(instruction, overlapped)
            overlapped = instruction.unit in (Unit.LOAD, Unit.STORE) and instruction.moved == 1
        return cycles

    def _cycles(self, instruction: Instruction, overlapped: bool) -> int:
        unit = instruction.unit
        if unit in (Unit.LOAD, Unit.STORE) and instruction.moved > 1:
            return 1 + instruction.moved
        if unit is Unit.LOAD:
            return 1 if overlapped else 2
        return _OF_MNEMONIC.get(instruction.mnemonic, _CYCLES.get(unit, 1))
