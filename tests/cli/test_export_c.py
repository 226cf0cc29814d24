"""``sigmaquant export --format c``, alone and inside a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq
from sigmaquant.export.c.compiler import find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")


def test_a_library_is_exported_and_verified(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    out = finished_project / "out"
    command = ("export", str(out / "network.pt2"), str(out / "quantized.safetensors"))
    ended = sigmaquant(*command, "--format", "c", "--out", str(tmp_path / "net"))
    assert ended.code == 0, ended.err
    assert "of RAM, verified in C on this machine" in ended.out
    plan = sq.BitPlan.load(out / "plan.json")
    manifest = json.loads((tmp_path / "net" / "model.json").read_text())
    assert manifest["weight_bits"] == plan.weight_bits


def test_without_a_compiler(
    finished_project: Path, sigmaquant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    out = finished_project / "out"
    command = ("export", str(out / "network.pt2"), str(out / "quantized.safetensors"))
    ended = sigmaquant(*command, "--format", "c", "--out", str(tmp_path / "net"))
    assert ended.code == 0, ended.err
    assert "exported, not verified: no C compiler found" in ended.out


def test_a_run_exports_measures_and_resumes(project: Path, sigmaquant: Any) -> None:
    config = project / "run.toml"
    config.write_text(config.read_text() + '\n[export]\nformat = "c"\n')
    first = sigmaquant("run", "run.toml", "--epochs", "0", "--out", "out")
    assert first.code == 0, first.err
    report = sq.RunReport.load(project / "out" / "report.json")
    assert report.exports[0].format == "c"
    assert report.quality_at("exported", "accuracy") is not None
    again = sigmaquant("run", "run.toml", "--epochs", "0", "--out", "out")
    assert "export: unchanged" in again.err
    (project / "out" / "model_c" / "model.c").write_text("")
    healed = sigmaquant("run", "run.toml", "--epochs", "0", "--out", "out")
    assert "export: done" in healed.err
