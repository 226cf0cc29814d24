"""Machine code to instructions, by the Capstone disassembler."""

from __future__ import annotations

from typing import Any

from sigmaquant.errors import MissingExtraError
from sigmaquant.profiling.instructions import Instruction, Unit

try:
    import capstone
    from capstone import arm
except ImportError as error:
    raise MissingExtraError("Emulating a Cortex-M", "emulate") from error

_CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
_MULTIPLY = ("ml", "mul", "sml", "smm", "smu", "uma", "uml", "umu")
_SIMD_START = ("sxtb16", "sxtab16", "uxtb16", "uxtab16", "pkh", "usad", "ssat", "usat", "sel")
_SIMD_END = ("add8", "sub8", "add16", "sub16", "asx", "sax")
_BRANCHES = frozenset({"b", "bl", "bx", "blx", "cbz", "cbnz", "tbb", "tbh"})
_FLAGS = {arm.ARM_REG_CPSR, arm.ARM_REG_APSR, arm.ARM_REG_ITSTATE, 0}


class Decoder:
    """Decodes Thumb-2 code of the M profile."""

    def __init__(self) -> None:
        self._capstone = capstone.Cs(
            capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        )
        self._capstone.detail = True

    def block(self, code: bytes, address: int) -> tuple[Instruction, ...]:
        """The instructions of a piece of straight code."""
        return tuple(_instruction(found) for found in self._capstone.disasm(code, address))


def _instruction(found: Any) -> Instruction:
    name = _unconditional(found)
    unit = _unit(name, found)
    reads, writes = (frozenset(registers) - _FLAGS for registers in found.regs_access())
    return Instruction(
        mnemonic=found.mnemonic,
        unit=unit,
        moved=_moved(name, found) if unit in (Unit.LOAD, Unit.STORE) else 0,
        reads=reads,
        writes=writes,
        loads=writes - _moved_bases(found) if unit is Unit.LOAD else frozenset(),
        shifts=any(operand.shift.type and operand.shift.value for operand in found.operands),
    )


def _moved_bases(found: Any) -> frozenset[int]:
    """The address registers that an access moves on, which are there before what it loads."""
    if not found.writeback:
        return frozenset({arm.ARM_REG_SP})
    bases = {operand.mem.base for operand in found.operands if operand.type == arm.ARM_OP_MEM}
    return frozenset(bases or {found.operands[0].reg})  # of several registers, the first


def _unconditional(found: Any) -> str:
    """The mnemonic without width and condition: "ldrne.w" is "ldr"."""
    name: str = found.mnemonic.split(".")[0]
    conditional = found.cc not in (arm.ARM_CC_AL, arm.ARM_CC_INVALID)
    return name[:-2] if conditional and name.endswith(_CONDITIONS) else name


def _unit(name: str, found: Any) -> Unit:
    if name.startswith("v"):
        return _float_unit(name)
    if name.startswith(("ldr", "ldm", "pop")):
        return Unit.LOAD
    if name.startswith(("str", "stm", "push")):
        return Unit.STORE
    if name in _BRANCHES:
        return Unit.BRANCH
    if name.startswith("it"):
        return Unit.IF_THEN
    if name in ("sdiv", "udiv"):
        return Unit.DIVIDE
    if name.startswith(_SIMD_START) or name.endswith(_SIMD_END):
        return Unit.SIMD
    return Unit.MAC if name.startswith(_MULTIPLY) else Unit.ALU


def _float_unit(name: str) -> Unit:
    if name.startswith(("vldr", "vldm", "vpop")):
        return Unit.LOAD
    if name.startswith(("vstr", "vstm", "vpush")):
        return Unit.STORE
    return Unit.FLOAT_DIVIDE if name in ("vdiv", "vsqrt") else Unit.FLOAT


def _moved(name: str, found: Any) -> int:
    """Registers between the processor and memory."""
    registers = sum(1 for operand in found.operands if operand.type == arm.ARM_OP_REG)
    if name.endswith(("pop", "push")):
        return registers
    if name.startswith(("ldm", "stm", "vldm", "vstm")):
        return registers - 1  # the first holds the address
    return 2 if name.startswith(("ldrd", "strd")) else 1
