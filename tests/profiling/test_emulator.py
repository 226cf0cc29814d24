"""Tiny programs in machine code: what runs, what is counted, what goes wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sigmaquant.errors import DeviceError, VerificationError
from sigmaquant.profiling.cores import CORES, core_named
from sigmaquant.profiling.counts import Count, Meter, total
from sigmaquant.profiling.emulator import Emulator
from sigmaquant.profiling.image import Image

# movs r0, #5; movs r1, #0; loop: adds r1, #2; subs r0, #1; bne loop; movs r0, r1; bl pause; ...
LOOP = (0x2005, 0x2100, 0x3102, 0x3801, 0xD1FC, 0x0008, 0xF000, 0xF801, 0xE7FE, 0x4770)


def test_a_program_pauses_with_its_argument(assembled: Callable[..., Image]) -> None:
    for cpu in CORES:
        assert Emulator(assembled(*LOOP), cpu).run() == 10


def test_counts_are_exact(assembled: Callable[..., Image]) -> None:
    """Two instructions before the loop, three in each of five rounds, two behind it."""
    image = assembled(*LOOP)
    reason, trace = Emulator(image, "cortex-m4").count()
    counted = Meter(image, CORES["cortex-m4"].model).by_function(trace)
    assert reason == 10
    taken = 4 * CORES["cortex-m4"].model.taken_branch_cycles
    assert counted == {"main": Count(instructions=2 + 15 + 2, cycles=2 + 15 + 2 + taken)}


def test_what_ran_uncounted_is_counted_the_next_time(assembled: Callable[..., Image]) -> None:
    """The pause returns to a branch back to the beginning."""
    image = assembled(*LOOP[:-2], 0xE7F6, 0x4770)
    emulator = Emulator(image, "cortex-m4")
    meter = Meter(image, CORES["cortex-m4"].model)
    assert emulator.run() == 10
    first = total(meter.by_function(emulator.count()[1]).values())
    assert emulator.run() == 10
    second = total(meter.by_function(emulator.count()[1]).values())
    assert first == second
    assert first.instructions == 20


def test_a_crash_names_the_function(assembled: Callable[..., Image]) -> None:
    load_from_nowhere = (0x2000, 0x6800, 0xE7FE, 0x4770)  # movs r0, #0; ldr r0, [r0]
    with pytest.raises(VerificationError, match="crashed in main at 0x"):
        Emulator(assembled(*load_from_nowhere), "cortex-m4").run()


def test_a_program_without_an_end(
    assembled: Callable[..., Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sigmaquant.profiling.emulator._MOST_MICROSECONDS", 20_000)
    with pytest.raises(VerificationError, match="does not end: it is in main"):
        Emulator(assembled(0xE7FE, 0x4770), "cortex-m4").run()


def test_other_cores_are_refused() -> None:
    with pytest.raises(DeviceError, match="'cortex-m55': cycles are known of cortex-m4, cortex-m7"):
        core_named("cortex-m55")
