"""A C library on emulated processors: its results, and what each step takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigmaquant.errors import MissingToolError, VerificationError
from sigmaquant.export.c.folder import read_check_vectors
from sigmaquant.lowering import run_reference
from sigmaquant.profiling import cross_compiler as compilers
from sigmaquant.profiling.cores import CORES
from sigmaquant.profiling.counts import total
from sigmaquant.profiling.cross_compiler import CrossCompiler
from sigmaquant.profiling.emulated_network import EmulatedNetwork
from sigmaquant.profiling.verification import EmulatedVerification, verify_emulated

Program = Any


@pytest.fixture(scope="module")
def verified(
    library: Path, program: Program, cross_compiler: CrossCompiler
) -> dict[str, EmulatedVerification]:
    """By core."""
    record, batch = program
    wanted = run_reference(record, batch)
    return {
        core.name: verify_emulated(library, core, cross_compiler, batch, wanted)
        for core in CORES.values()
    }


@pytest.mark.parametrize("core", CORES)
def test_outputs_are_the_references(
    verified: dict[str, EmulatedVerification], program: Program, core: str
) -> None:
    found = verified[core]
    assert (found.outputs.samples, found.outputs.differing) == (3, 0)
    assert [step.step.layer for step in found.steps if step.step.layer is not None] == [
        weights.layer for weights in program[0].weights
    ]
    assert found.count == total(step.count for step in found.steps)
    for step in found.steps:
        assert step.count == total(step.functions.values())
        assert step.count.instructions > 0


def test_counts_are_the_same_in_every_run(
    library: Path, program: Program, cross_compiler: CrossCompiler, verified: Any
) -> None:
    network = EmulatedNetwork(library, CORES["cortex-m4"], cross_compiler)
    assert network.count(program[1]) == network.count(program[1]) == verified["cortex-m4"].steps


def test_the_m7_issues_two_instructions_a_cycle(verified: dict[str, EmulatedVerification]) -> None:
    m4, m7 = (verified[core].count for core in CORES)
    assert m7.cycles < m4.cycles
    assert m7.instructions / m7.cycles > 1 > m4.instructions / m4.cycles


def test_check_vectors_are_what_was_exported(library: Path, program: Program) -> None:
    record, batch = program
    inputs, outputs = read_check_vectors(library)
    for name, array in inputs.items():
        assert np.array_equal(array, batch[name][: len(array)])
    wanted = run_reference(record, inputs)
    assert all(np.array_equal(outputs[name], wanted[name]) for name in wanted)


def test_other_outputs_are_refused(library: Path, cross_compiler: CrossCompiler) -> None:
    inputs, outputs = read_check_vectors(library)
    wrong = {name: np.nextafter(array, np.float32(9)) for name, array in outputs.items()}
    with pytest.raises(VerificationError, match="differs from the integer reference in 10 of 10"):
        verify_emulated(library, CORES["cortex-m4"], cross_compiler, inputs, wrong)


def test_without_any_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"apt install gcc-arm-none-eabi.*pip install zig"):
        compilers.find_cross_compiler()


def test_zigs_compiler_is_taken_where_gcc_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: object())
    found = compilers.find_cross_compiler()
    assert found.command[1:] == ("-m", "ziglang", "cc")
    assert not found.is_gcc
