"""``sigmaquant verify``: on this machine and on an emulated processor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigmaquant.errors import MissingToolError
from sigmaquant.export.c.compiler import find_compiler
from sigmaquant.profiling.cross_compiler import find_cross_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")


@pytest.fixture(scope="module")
def library(finished_project: Path, installed: Any) -> Path:
    """The network of the finished run as a C library."""
    out = finished_project / "out"
    files = str(out / "network.pt2"), str(out / "finetuned.safetensors")
    library = finished_project / "library"
    ended = installed.run(
        "export", *files, "--format", "c", "--out", str(library), folder=finished_project
    )
    assert ended.code == 0, ended.err
    return library


@pytest.fixture(scope="module")
def cross_compiler() -> None:
    try:
        find_cross_compiler()
    except MissingToolError as error:
        pytest.skip(str(error))


def test_a_library_agrees_with_the_samples_it_brings(library: Path, sigmaquant: Any) -> None:
    ended = sigmaquant("verify", str(library))
    assert ended.code == 0, ended.err
    assert ended.out == "2 samples agree with the integer reference bit for bit on this machine\n"


@pytest.mark.usefixtures("cross_compiler")
def test_emulation_counts_each_step(library: Path, finished_project: Path, sigmaquant: Any) -> None:
    reference = "--program", str(finished_project / "out" / "program.safetensors")
    samples = "--inputs", str(finished_project / "evaluation.npz"), "--samples", "5"
    command = "verify", str(library), "--emulate", "cortex-m4", *reference, *samples
    ended = sigmaquant(*command)
    assert ended.code == 0, ended.err
    assert "5 samples agree with the integer reference bit for bit on an emulated" in ended.out
    assert "sq_dot_w" in ended.out
    found = json.loads(sigmaquant(*command, "--json").out)
    assert found["core"] == "cortex-m4"
    assert found["count"]["cycles"] == sum(step["count"]["cycles"] for step in found["steps"])
    layers = [step["step"]["layer"] for step in found["steps"] if step["step"]["layer"]]
    assert layers == ["conv1", "conv2", "classifier"]
    assert f"{found['count']['cycles']:,}" in ended.out


def test_a_changed_library_fails(library: Path, sigmaquant: Any, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(library, changed)
    vectors = changed / "check_vectors.h"
    text, begin, numbers = vectors.read_text().partition("check_outputs[")
    head, _, tail = numbers.partition("{0x")
    first, _, rest = tail.partition(",")
    vectors.write_text(f"{text}{begin}{head}{{{int(first, 16) ^ 1:#x},{rest}")
    ended = sigmaquant("verify", str(changed))
    assert ended.code == 4
    assert "differs from the integer reference in 1 of 10 values" in ended.err


def test_a_reference_needs_samples(library: Path, sigmaquant: Any) -> None:
    ended = sigmaquant("verify", str(library), "--program", "program.safetensors")
    assert (ended.code, "go together" in ended.err) == (2, True)
    assert sigmaquant("verify", "no-such-folder").code == 2
    ended = sigmaquant("verify", str(library), "--emulate", "cortex-a72")
    assert (ended.code, "cycles are known of cortex-m4" in ended.err) == (2, True)


def test_a_reference_of_another_network_is_refused(
    library: Path, finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(library, changed)
    manifest = json.loads((changed / "model.json").read_text())
    manifest["outputs"][0]["name"] = "other"
    (changed / "model.json").write_text(json.dumps(manifest))
    reference = "--program", str(finished_project / "out" / "program.safetensors")
    samples = "--inputs", str(finished_project / "evaluation.npz")
    ended = sigmaquant("verify", str(changed), *reference, *samples)
    assert (ended.code, "is the record of another network" in ended.err) == (2, True)


def test_samples_of_another_size_are_refused(
    library: Path, finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 1, 9, 9), np.float32))
    reference = "--program", str(finished_project / "out" / "program.safetensors")
    ended = sigmaquant("verify", str(library), *reference, "--inputs", str(tmp_path / "wide.npz"))
    assert (ended.code, "has shape (1, 9, 9), the network takes" in ended.err) == (2, True)
