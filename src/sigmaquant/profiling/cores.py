"""The processors that can be emulated: how to compile for them, and their cycles."""

from __future__ import annotations

from dataclasses import dataclass

from sigmaquant.errors import DeviceError
from sigmaquant.profiling.cortex_m4 import CortexM4
from sigmaquant.profiling.cortex_m7 import CortexM7
from sigmaquant.profiling.instructions import CycleModel


@dataclass(frozen=True)
class Core:
    """A processor.

    Attributes:
        name: as users call it; also that of a shipped profile of a part with it.
        gcc_flags: how GCC is told to compile for it.
        zig_cpu: how Zig's compiler calls it.
        model: its cycles.
    """

    name: str
    gcc_flags: tuple[str, ...]
    zig_cpu: str
    model: CycleModel


CORES = {
    core.name: core
    for core in (
        Core(
            "cortex-m4",
            ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
            "cortex_m4+vfp4d16sp",
            CortexM4(),
        ),
        Core(
            "cortex-m7",
            ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
            "cortex_m7+fp_armv8d16",
            CortexM7(),
        ),
    )
}
"""By name."""


def core_named(name: str) -> Core:
    """The core of that name.

    Raises:
        DeviceError: no cycles are known of it; names those that are.
    """
    if name not in CORES:
        raise DeviceError(f"cannot emulate {name!r}: cycles are known of {', '.join(CORES)}")
    return CORES[name]
