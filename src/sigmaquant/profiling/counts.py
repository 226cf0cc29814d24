"""Instructions and cycles of what was executed, by function."""

from __future__ import annotations

from collections.abc import Iterable

from sigmaquant.artifact import Frozen
from sigmaquant.profiling.decoding import Decoder
from sigmaquant.profiling.emulator import Trace
from sigmaquant.profiling.image import Image
from sigmaquant.profiling.instructions import CycleModel


class Count(Frozen):
    """How much was executed.

    Attributes:
        instructions: those whose condition failed count, too.
        cycles: by a cycle model.
    """

    instructions: int = 0
    cycles: int = 0

    def plus(self, other: Count) -> Count:
        """The sum of both."""
        return Count(
            instructions=self.instructions + other.instructions, cycles=self.cycles + other.cycles
        )


def total(counts: Iterable[Count]) -> Count:
    """The sum of all."""
    result = Count()
    for count in counts:
        result = result.plus(count)
    return result


class Meter:
    """Counts what a program executed; each block is decoded once.

    Args:
        image: the program.
        model: cycles of its processor.
    """

    def __init__(self, image: Image, model: CycleModel) -> None:
        self._image = image
        self._model = model
        self._decoder = Decoder()
        self._blocks: dict[tuple[int, int], Count] = {}

    def by_function(self, trace: Trace) -> dict[str, Count]:
        """Counts of each function that was in, the most cycles first."""
        found: dict[str, Count] = {}
        for (before, address), times in trace.edges.items():
            block = self._block(address, trace.sizes[address])
            goes_on = not before or before + trace.sizes[before] == address
            branch = 0 if goes_on else self._model.taken_branch_cycles
            entered = Count(
                instructions=times * block.instructions, cycles=times * (block.cycles + branch)
            )
            name = self._image.function_at(address)
            found[name] = found.get(name, Count()).plus(entered)
        return dict(sorted(found.items(), key=lambda pair: -pair[1].cycles))

    def _block(self, address: int, size_bytes: int) -> Count:
        key = address, size_bytes
        if key not in self._blocks:
            block = self._decoder.block(self._image.code(address, size_bytes), address)
            self._blocks[key] = Count(
                instructions=len(block), cycles=self._model.block_cycles(block)
            )
        return self._blocks[key]
