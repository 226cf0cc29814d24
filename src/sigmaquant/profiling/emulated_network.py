"""An exported C library on an emulated Cortex-M: its results, and what each step takes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.artifact import Frozen
from sigmaquant.export.c.folder import flat_samples, named_samples
from sigmaquant.export.c.manifest import Manifest, Step
from sigmaquant.profiling.cores import Core
from sigmaquant.profiling.counts import Count, Meter, total
from sigmaquant.profiling.cross_compiler import CrossCompiler, write_bare
from sigmaquant.profiling.emulator import Emulator
from sigmaquant.profiling.image import Image

Array = npt.NDArray[Any]

_READY = -1  # as in bare/network.c


class StepCount(Frozen):
    """What one step of a network took for one sample.

    Attributes:
        step: which.
        count: all of it.
        functions: its parts, the most cycles first.
    """

    step: Step
    count: Count
    functions: dict[str, Count]


class EmulatedNetwork:
    """A network in C on an emulated processor: float32 in, float32 out.

    Args:
        folder: of the library.
        core: the processor.
        compiler: what builds the library for it.

    Raises:
        VerificationError: the library does not compile.
        ArtifactError: the folder holds no exported library.
    """

    def __init__(self, folder: Path, core: Core, compiler: CrossCompiler) -> None:
        self.manifest = Manifest.load(folder / "model.json")
        self.image = _built(folder, core, compiler)
        self._emulator = Emulator(self.image, core.name)
        self._meter = Meter(self.image, core.model)
        self._pause_at_ready()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for a batch of inputs by name: (batch, *shape), float32.

        Raises:
            VerificationError: the program crashes.
        """
        results = []
        for sample in self._flat(inputs):
            self._set_inputs(sample)
            self._pause_at_ready()
            results.append(self._outputs())
        return named_samples(np.stack(results), self.manifest.outputs)

    def count(self, inputs: Mapping[str, Array]) -> tuple[StepCount, ...]:
        """What each step takes for the first sample.

        Raises:
            VerificationError: the program crashes.
        """
        self._set_inputs(self._flat(inputs)[0])
        found: list[StepCount] = []
        while True:
            reason, trace = self._emulator.count()
            if reason == _READY:
                return tuple(found)
            functions = self._meter.by_function(trace)
            step = self._step(reason)
            found.append(StepCount(step=step, count=total(functions.values()), functions=functions))

    def _step(self, index: int) -> Step:
        """Libraries of earlier versions do not name their steps."""
        steps = self.manifest.steps
        return steps[index] if steps else Step(name=f"step {index}", operator="?")

    def _pause_at_ready(self) -> None:
        while self._emulator.run() != _READY:
            pass

    def _flat(self, inputs: Mapping[str, Array]) -> npt.NDArray[np.float32]:
        return flat_samples(inputs, [port.name for port in self.manifest.inputs])

    def _set_inputs(self, sample: npt.NDArray[np.float32]) -> None:
        self._emulator.write(self.image.symbols["network_inputs"], sample.tobytes())

    def _outputs(self) -> npt.NDArray[np.float32]:
        size_bytes = 4 * sum(port.floats for port in self.manifest.outputs)
        memory = self._emulator.read(self.image.symbols["network_outputs"], size_bytes)
        return np.frombuffer(memory, np.float32)


def _built(folder: Path, core: Core, compiler: CrossCompiler) -> Image:
    with tempfile.TemporaryDirectory() as name:
        write_bare(Path(name), "network.c")
        sources = [Path(name) / "network.c", *sorted((folder / "kernels").glob("*.c"))]
        return compiler.image(sources, [folder], core)
