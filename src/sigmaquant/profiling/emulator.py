"""A bare Cortex-M in the Unicorn emulator, which runs each instruction and counts.

Counts are exact and the same in every run: what is counted are blocks of straight code, and from
where to where the program goes. Only instructions inside an IT block whose condition fails count
although they do nothing; a processor takes their cycle, too.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass

from sigmaquant.errors import MissingExtraError, VerificationError
from sigmaquant.profiling.image import Image

try:
    import unicorn
    from unicorn import arm_const
except ImportError as error:
    raise MissingExtraError("Emulating a Cortex-M", "emulate") from error

FLASH_ADDRESS = 0x0800_0000
RAM_ADDRESS = 0x2000_0000
MEMORY_BYTES = 64 << 20
"""Of flash and of RAM: more than any such part has, so that every network can be counted."""

PAUSE = "sq_pause"
"""The function at which the program hands over; its argument says why."""

_SYSTEM_ADDRESS, _SYSTEM_BYTES = 0xE000_0000, 1 << 20
_MOST_MICROSECONDS = 1_200_000_000
_CPUS = {
    "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7,
}


@dataclass(frozen=True)
class Trace:
    """What was executed.

    Attributes:
        edges: how often the block at the second address followed the one at the first; 0 is the
            beginning.
        sizes: bytes of the block at each address.
    """

    edges: Counter[tuple[int, int]]
    sizes: dict[int, int]


class Emulator:
    """A processor with a program in its flash.

    Args:
        image: the program; begins with a vector table.
        cpu: a key of ``CORES``.
    """

    def __init__(self, image: Image, cpu: str) -> None:
        self._image = image
        self._engine = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        self._engine.ctl_set_cpu_model(_CPUS[cpu])
        for address in (FLASH_ADDRESS, RAM_ADDRESS):
            self._engine.mem_map(address, MEMORY_BYTES)
        self._engine.mem_map(_SYSTEM_ADDRESS, _SYSTEM_BYTES)
        for segment in image.segments:
            self.write(segment.address, segment.content)
        stack, self._next = struct.unpack("<2I", self.read(FLASH_ADDRESS, 8))
        self._engine.reg_write(arm_const.UC_ARM_REG_SP, stack)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Bytes of memory."""
        return bytes(self._engine.mem_read(address, size_bytes))

    def write(self, address: int, content: bytes) -> None:
        """Set bytes of memory."""
        self._engine.mem_write(address, content)

    def run(self) -> int:
        """Go on to the next pause, as fast as can be; returns the pause's argument.

        Raises:
            VerificationError: the program crashes or does not pause in 20 minutes.
        """
        pause = self._image.symbols[PAUSE]
        try:
            self._engine.emu_start(self._next | 1, pause, timeout=_MOST_MICROSECONDS)
        except unicorn.UcError as error:
            raise VerificationError(
                f"the emulated program crashed {self._place()}: {error}"
            ) from error
        if self._engine.reg_read(arm_const.UC_ARM_REG_PC) != pause:
            raise VerificationError(f"the emulated program does not end: it is {self._place()}")
        self._next = self._engine.reg_read(arm_const.UC_ARM_REG_LR)
        (argument,) = struct.unpack("<i", struct.pack("<I", self._register(0)))
        return int(argument)

    def count(self) -> tuple[int, Trace]:
        """As ``run``, and what was executed on the way."""
        edges: Counter[tuple[int, int]] = Counter()
        sizes: dict[int, int] = {}
        before = 0

        def enter(_engine: object, address: int, size: int, _data: object) -> None:
            nonlocal before
            edges[before, address] += 1
            sizes[address] = size
            before = address

        # Hooks are part of translated code: what was translated without, or with, has to go.
        hook = self._engine.hook_add(unicorn.UC_HOOK_BLOCK, enter)
        self._engine.ctl_flush_tb()
        try:
            return self.run(), Trace(edges, sizes)
        finally:
            self._engine.hook_del(hook)
            self._engine.ctl_flush_tb()

    def _register(self, number: int) -> int:
        return int(self._engine.reg_read(arm_const.UC_ARM_REG_R0 + number)) & 0xFFFF_FFFF

    def _place(self) -> str:
        address = self._engine.reg_read(arm_const.UC_ARM_REG_PC)
        return f"in {self._image.function_at(address)} at {address:#x}"
