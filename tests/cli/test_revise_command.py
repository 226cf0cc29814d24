"""``sigmaquant revise``, and ``sigmaquant run --revise``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sigmaquant.bitplan import BitPlan
from sigmaquant.report import RunReport


def test_what_it_writes_can_be_trained(
    finished_project: Path, tmp_path: Path, sigmaquant: Any
) -> None:
    out = finished_project / "out"
    network, data = str(out / "network.pt2"), str(finished_project / "calibration.npz")
    plan, revised = str(tmp_path / "plan.json"), str(tmp_path / "revised.safetensors")
    command = (
        *("revise", network, str(out / "scores.json"), str(out / "finetuned.safetensors")),
        *("--device", "cortex-m4", "--calibration", data, "--plan-out", plan, "--out", revised),
    )
    ended = sigmaquant(*command, "--flash", "1000 B", "--json")
    assert ended.code == 0, ended.err
    changed = BitPlan.load(out / "plan.json").weight_bits != BitPlan.load(plan).weight_bits
    assert json.loads(ended.out) == {"revised": revised, "plan": plan, "changed": changed}
    assert "plans measured" in ended.err
    ended = sigmaquant(
        *("finetune", network, plan, "--start", revised, "--calibration", data, "--epochs", "1"),
        *("--train-on-calibration", "--out", str(tmp_path / "again.safetensors")),
    )
    assert ended.code == 0, ended.err

    ended = sigmaquant(*command)
    assert ended.code == 0, ended.err
    assert "Flash: " in ended.out
    assert f"{revised}, {plan}" in ended.out

    ended = sigmaquant(*command, "--flash", "600 B")
    assert ended.code == 2
    assert "search a plan within this one" in ended.err


def test_a_run_revises_where_it_is_asked_to(project: Path, sigmaquant: Any) -> None:
    ended = sigmaquant("run", "run.toml", "--revise", "--epochs", "0")
    assert ended.code == 2
    assert "revised after fine-tuning, and there is none" in ended.err
    settings = (project / "run.toml").read_text()
    (project / "run.toml").write_text(settings.replace("epochs = 1", "epochs = 1\nrevise = true"))
    ended = sigmaquant("run", "run.toml")
    assert ended.code == 0, ended.err
    assert "After fine-tuning" in ended.out
    assert RunReport.load(project / "out" / "report.json").revision is not None
