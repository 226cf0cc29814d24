"""Straight code in machine code, and its cycles by both models."""

from __future__ import annotations

import struct

import pytest

from sigmaquant.profiling.cores import CORES
from sigmaquant.profiling.decoding import Decoder
from sigmaquant.profiling.instructions import Instruction, Unit

LOAD_R0 = (0x6808,)  # ldr r0, [r1]
LOAD_R2 = (0x684A,)  # ldr r2, [r1, #4]
LOAD_AND_MOVE_ON = (0xF851, 0x0B04)  # ldr r0, [r1], #4
STORE_R0 = (0x6008,)  # str r0, [r1]
LOAD_BOTH = (0xE9D1, 0x0200)  # ldrd r0, r2, [r1]
POP_FOUR = (0xBD07,)  # pop {r0, r1, r2, pc}
ADD = (0x1844,)  # adds r4, r0, r1
ADD_OTHERS = (0x19F5,)  # adds r5, r6, r7
SHIFTED_ADD = (0xEB06, 0x05C7)  # add.w r5, r6, r7, lsl #3
DUAL_MAC = (0xFB20, 0x3301)  # smlad r3, r0, r1, r3
OTHER_DUAL_MAC = (0xFB22, 0x8801)  # smlad r8, r2, r1, r8
UNPACK = (0xFA3F, 0xF480)  # uxtb16 r4, r0
DIVIDE = (0xFBB0, 0xF4F1)  # udiv r4, r0, r1
FLOAT_DIVIDE = (0xEE80, 0x0A20)  # vdiv.f32 s0, s0, s1
IF_THEN = (0xBF08, 0x2001)  # it eq; moveq r0, #1


def decoded(*instructions: tuple[int, ...]) -> tuple[Instruction, ...]:
    halfwords = [half for instruction in instructions for half in instruction]
    return Decoder().block(struct.pack(f"<{len(halfwords)}H", *halfwords), 0x8000000)


@pytest.mark.parametrize(
    ("code", "unit", "moved"),
    [
        (LOAD_R0, Unit.LOAD, 1),
        (STORE_R0, Unit.STORE, 1),
        (LOAD_BOTH, Unit.LOAD, 2),
        (POP_FOUR, Unit.LOAD, 4),
        (ADD, Unit.ALU, 0),
        (DUAL_MAC, Unit.MAC, 0),
        (UNPACK, Unit.SIMD, 0),
        (DIVIDE, Unit.DIVIDE, 0),
        (FLOAT_DIVIDE, Unit.FLOAT_DIVIDE, 0),
    ],
)
def test_units_and_moved_registers(code: tuple[int, ...], unit: Unit, moved: int) -> None:
    (found,) = decoded(code)
    assert (found.unit, found.moved) == (unit, moved)


def test_a_moved_address_is_not_loaded() -> None:
    moving, plain, both = decoded(LOAD_AND_MOVE_ON, LOAD_R2, POP_FOUR)
    assert (len(moving.writes), len(moving.loads)) == (2, 1)
    assert moving.loads < moving.writes
    assert plain.loads == plain.writes
    assert len(both.loads) == 4


def test_conditions_are_no_part_of_the_name() -> None:
    assert [found.unit for found in decoded(IF_THEN[:1], IF_THEN[1:])] == [Unit.IF_THEN, Unit.ALU]


def test_registers_without_flags() -> None:
    (found,) = decoded(ADD)
    assert len(found.reads) == 2
    assert len(found.writes) == 1
    assert [each.shifts for each in decoded(ADD, SHIFTED_ADD)] == [False, True]


@pytest.mark.parametrize(
    ("code", "m4", "m7"),
    [
        ([ADD], 1, 1),
        ([ADD, ADD_OTHERS], 2, 1),
        ([LOAD_R0], 2, 1),
        ([LOAD_R0, LOAD_R2], 3, 2),
        ([LOAD_R0, STORE_R0], 3, 3),  # the M7 waits for what it loaded
        ([LOAD_BOTH], 3, 1),
        ([LOAD_AND_MOVE_ON, LOAD_R2], 3, 2),  # the moved address is there at once
        ([POP_FOUR], 5, 2),
        ([LOAD_R0, ADD], 3, 3),
        ([LOAD_R0, ADD_OTHERS, ADD], 4, 3),
        ([DUAL_MAC, OTHER_DUAL_MAC], 2, 2),  # one multiplier
        ([DUAL_MAC, LOAD_R2], 3, 1),
        ([SHIFTED_ADD, UNPACK], 2, 2),  # one shifter
        ([DIVIDE], 6, 6),
        ([FLOAT_DIVIDE], 14, 14),
    ],
)
def test_cycles_of_straight_code(code: list[tuple[int, ...]], m4: int, m7: int) -> None:
    block = decoded(*code)
    assert CORES["cortex-m4"].model.block_cycles(block) == m4
    assert CORES["cortex-m7"].model.block_cycles(block) == m7
