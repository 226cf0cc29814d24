"""Proves that an exported C library computes what the integer reference computes, bit for bit.

A softmax at the end is the exception: it agrees to ``TAIL_TOLERANCE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import VerificationError
from sigmaquant.export.c.comparison import differing_values
from sigmaquant.export.c.compiler import NONE_FOUND, Compiler
from sigmaquant.export.c.model import Model
from sigmaquant.export.c.runtime import CNetwork
from sigmaquant.export.c.tails import TAIL_TOLERANCE
from sigmaquant.export.c.values import stored_values
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import FloatOperator, IntegerProgram
from sigmaquant.lowering.reference import trace_reference

Array = npt.NDArray[Any]


def verify_c(
    folder: Path,
    model: Model,
    program: IntegerProgram,
    inputs: Mapping[str, Array],
    compiler: Compiler,
) -> Verification:
    """Build the library, run it and the reference on the same inputs, and compare.

    Args:
        folder: of the library.
        model: what was written to it.
        program: what the model was made from.
        inputs: (batch, *shape) float32 for each input of the program.
        compiler: what builds the library for this machine.

    Raises:
        VerificationError: the library does not compile, crashes, or computes something else;
            names the first operator that differs.
    """
    network = CNetwork(folder, compiler)
    actual = network.run(inputs)
    expected = trace_reference(program, inputs)
    tails = {op.output for op in program.operators if isinstance(op, FloatOperator)}
    if any(_wrong(actual[name], expected[name], name in tails) for name in actual):
        _blame(network, model, expected, inputs)
    if not network.passes_own_check():
        raise VerificationError("check.c finds differences where the comparison found none")
    return _verification(
        model,
        runtime=f"C by {compiler.name}",
        samples=len(next(iter(actual.values()))),
        values=sum(array.size for array in actual.values()),
        differing=sum(differing_values(actual[name], expected[name]) for name in actual),
        largest_difference=max(
            float(np.abs(array - expected[name]).max()) for name, array in actual.items()
        ),
        verified=True,
    )


def unverified(model: Model) -> Verification:
    """What can be said of a library that no compiler is there to build."""
    return _verification(model, runtime=NONE_FOUND, samples=0, values=0, verified=False)


def _verification(
    model: Model,
    *,
    runtime: str,
    samples: int,
    values: int,
    verified: bool,
    differing: int = 0,
    largest_difference: float = 0.0,
) -> Verification:
    manifest = model.manifest
    return Verification(
        runtime=runtime,
        samples=samples,
        values=values,
        differing=differing,
        largest_difference=largest_difference,
        exact=manifest.tolerance == 0,
        kernels=manifest.kernels,
        file_bytes=manifest.table_bytes,
        ram_bytes=manifest.arena_bytes + manifest.scratch_bytes,
        verified=verified,
    )


def _wrong(actual: Array, expected: Array, is_tail: bool) -> int:
    """How many values differ by more than they may."""
    if not is_tail:
        return differing_values(actual, expected)
    return int(np.count_nonzero(~(np.abs(actual - expected) <= TAIL_TOLERANCE)))


def _blame(
    network: CNetwork,
    model: Model,
    expected: Mapping[str, Array],
    inputs: Mapping[str, Array],
) -> None:
    """Raise VerificationError for the first step whose result differs."""
    calls = model.plan.calls
    steps = network.trace(inputs, [call.output.bytes for call in calls])
    for call, memory in zip(calls, steps, strict=True):
        actual = stored_values(memory, call.output)
        wanted = expected[call.output.value.name].reshape(actual.shape)
        if differing := _wrong(actual, wanted, isinstance(call.operator, FloatOperator)):
            raise VerificationError(
                f"{call.operator.name} ({type(call.operator).__name__}) differs from the integer "
                f"reference in {differing} of {actual.size} values"
            )
    raise VerificationError(
        "the outputs differ from the integer reference, although the result of every step agrees"
    )
