"""An exported library proven on an emulated processor, and what it takes there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sigmaquant.artifact import Frozen
from sigmaquant.export.c.comparison import Comparison, compared
from sigmaquant.profiling.cores import Core
from sigmaquant.profiling.counts import Count, total
from sigmaquant.profiling.cross_compiler import CrossCompiler
from sigmaquant.profiling.emulated_network import EmulatedNetwork, StepCount

Array = npt.NDArray[Any]


class EmulatedVerification(Frozen):
    """What an emulated processor makes of a library.

    Attributes:
        core: the processor.
        compiler: what built the library for it.
        outputs: the outputs beside those of the integer reference.
        steps: what each took for the first sample, in order.
        count: their sum.
        text_bytes: code and constants of the whole program.
        data_bytes: initial values of variables.
        zeroed_bytes: variables that begin as zero: arena, scratch, inputs and outputs.
    """

    core: str
    compiler: str
    outputs: Comparison
    steps: tuple[StepCount, ...]
    count: Count
    text_bytes: int
    data_bytes: int
    zeroed_bytes: int


def verify_emulated(
    folder: Path,
    core: Core,
    compiler: CrossCompiler,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
) -> EmulatedVerification:
    """Run a library on the processor, compare its outputs, and count the first sample.

    Args:
        folder: of the library.
        core: the processor.
        compiler: what builds the library for it.
        inputs: (batch, *shape) float32 by name.
        expected: what the integer reference computes from them.

    Raises:
        VerificationError: the library does not compile, crashes, or computes something else.
        ArtifactError: the folder holds no exported library.
    """
    network = EmulatedNetwork(folder, core, compiler)
    outputs = compared(network.run(inputs), expected, network.manifest.tolerance)
    steps = network.count(inputs)
    return EmulatedVerification(
        core=core.name,
        compiler=compiler.version,
        outputs=outputs,
        steps=steps,
        count=total(step.count for step in steps),
        text_bytes=network.image.text_bytes,
        data_bytes=network.image.data_bytes,
        zeroed_bytes=network.image.zeroed_bytes,
    )
