"""``sigmaquant devices firmware``, from a run's folder to a fitted profile."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq
from sigmaquant.export.c.compiler import find_compiler


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")
def test_a_library_becomes_firmware_and_what_it_prints_a_profile(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    out, library, folder = finished_project / "out", tmp_path / "model_c", tmp_path / "firmware"
    network = str(out / "network.pt2")
    quantized = str(out / "quantized.safetensors")
    sigmaquant("export", network, quantized, "--format", "c", "--out", str(library))
    ended = sigmaquant(
        "devices", "firmware", str(library), "--network", network,
        "--plan", str(out / "plan.json"), "--out", str(folder),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert f"make -C {folder} board.csv" in ended.out
    subprocess.run(["make", "-s", "-C", str(folder), "board.csv"], check=True)
    ended = sigmaquant(
        "devices", "fit", "--profile", "cortex-m4",
        "--measurements", str(folder / "board.csv"), "--out", str(tmp_path / "board.toml"),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "network.json conv1" in ended.out
    assert "median error of left-out rows" in ended.out
    assert "next: measure" in ended.out
    calibration = sq.load_profile(tmp_path / "board.toml").calibration
    assert calibration is not None
    assert calibration.measurements == 4


def test_what_is_no_library_is_refused(finished_project: Path, sigmaquant: Any) -> None:
    out = finished_project / "out"
    ended = sigmaquant("devices", "firmware", str(out), "--network", str(out / "network.pt2"))
    assert ended.code == 2
    assert "cannot read the Manifest" in ended.err
