"""One subcommand a stage: each works on the files of the one before."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq


def test_all_stages_by_hand(project: Path, sigmaquant: Any) -> None:
    steps = [
        ("capture", "nets.py:Tiny", "--calibration", "calibration.npz"),
        ("score", "network.pt2", "--config", "run.toml"),
        ("search", "network.pt2", "scores.json", "--device", "cortex-m4", "--flash", "1000B"),
        ("quantize", "network.pt2", "plan.json", "--calibration", "calibration.npz"),
        (
            *("finetune", "network.pt2", "plan.json", "--config", "run.toml"),
            *("--start", "quantized.safetensors", "--epochs", "1"),
        ),
        ("export", "network.pt2", "finetuned.safetensors"),
    ]
    printed = []
    for step in steps:
        ended = sigmaquant(*step)
        assert ended.code == 0, ended.err
        printed.append(ended.out)
    assert "conv2" in printed[0]
    assert "Tiny: 1,592 weights" in printed[0]
    assert "rise of divergence over 48 samples" in printed[1]
    assert "of 1000 B" in printed[2]
    assert "bits a weight: quantized.safetensors" in printed[3]
    assert "fine-tuned for 1 epochs" in printed[4]
    assert "verified in ONNX Runtime" in printed[5]
    plan = sq.BitPlan.load("plan.json")
    assert json.dumps(plan.weight_bits).encode() in (project / "model.onnx").read_bytes()
    assert not list(project.glob("*.partial"))


def test_json_of_every_stage_is_an_artifact(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    out = finished_project / "out"
    network = str(out / "network.pt2")
    search = sigmaquant(
        *("search", network, str(out / "scores.json"), "--device", "cortex-m7"),
        *("--strategy", "greedy", "--flash", "900B", "--out", str(tmp_path / "p.json"), "--json"),
    )
    assert sq.BitPlan.model_validate_json(search.out) == sq.BitPlan.load(tmp_path / "p.json")
    export = sigmaquant(
        *("export", network, str(out / "quantized.safetensors")),
        *("--out", str(tmp_path / "m.onnx"), "--json"),
    )
    assert json.loads(export.out)["differing"] == 0
    report = sigmaquant("report", str(out), "--json")
    assert sq.RunReport.model_validate_json(report.out) == sq.RunReport.load(out / "report.json")


def test_report_is_printed_and_drawn_again(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    html = tmp_path / "again.html"
    ended = sigmaquant("report", str(finished_project / "out" / "report.json"), "--html", str(html))
    assert ended.code == 0
    assert "Tiny on STM32" in ended.out
    assert html.read_bytes() == (finished_project / "out" / "report.html").read_bytes()


def test_names_of_layers_are_whole_in_a_pipe(
    finished_project: Path, sigmaquant: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = finished_project / "out"
    scores = sq.SensitivityTable.load(out / "scores.json")
    name = "blocks.layer1.0.conv1.depthwise.convolution"
    renamed = scores.model_copy(update={"scores": {name: scores.scores["conv2"]}})
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sigmaquant.sensitivity.score", lambda *_, **__: renamed)
    ended = sigmaquant(
        *("score", str(out / "network.pt2"), "--out", str(tmp_path / "scores.json")),
        *("--calibration", str(finished_project / "calibration.npz")),
    )
    assert name in ended.out


def test_flags_replace_the_file(finished_project: Path, project: Path, sigmaquant: Any) -> None:
    ended = sigmaquant(
        *("run", "--model", "nets.py:Tiny", "--calibration", "calibration.npz"),
        *("--evaluation", "evaluation.npz", "--batch-size", "16", "--device", "cortex-m4"),
        *("--flash", "1000B", "--max-drop", "100", "--out", "flags", "--json", "--quiet"),
    )
    assert ended.code == 0, ended.err
    report = sq.RunReport.model_validate_json(ended.out)
    whole = sq.RunReport.load(finished_project / "out" / "report.json")
    assert report.layers == whole.layers
    assert report.quality_at("finetuned", "accuracy") is None


def test_quiet_says_nothing_on_stderr(
    finished_project: Path, sigmaquant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_project)
    loud = sigmaquant("run", "run.toml")
    quiet = sigmaquant("run", "run.toml", "--quiet")
    assert "score: unchanged" in loud.err
    assert quiet.err == ""
    assert quiet.out == loud.out


def test_a_checkpoint_of_training_belongs_to_its_data(
    finished_project: Path, project: Path, sigmaquant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints: list[Path] = []

    def killed(*_: object, checkpoint: Path, **__: object) -> None:
        checkpoints.append(checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("sigmaquant.finetune"), "finetune", killed)
    out = finished_project / "out"
    files = ("finetune", str(out / "network.pt2"), str(out / "plan.json"), "--training")
    for data in (["training.npz"], ["training.npz", "--batch-size", "8"], ["evaluation.npz"]):
        assert sigmaquant(*files, *data).code == 130
    assert len(set(checkpoints)) == 3


def test_batches_of_another_size_are_trained_on_anew(project: Path, sigmaquant: Any) -> None:
    one_batch = ("run", "run.toml", "--calibration-samples", "16", "--batch-size")
    assert sigmaquant(*one_batch, "16").code == 0
    again = sigmaquant(*one_batch, "32")
    assert "quantize: unchanged" in again.err
    assert "finetune: done" in again.err
