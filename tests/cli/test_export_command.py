"""``sigmaquant export`` and ``run`` for every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq

pytest.importorskip("ai_edge_litert")


def stages_of(finished_project: Path) -> tuple[str, str]:
    out = finished_project / "out"
    return str(out / "network.pt2"), str(out / "finetuned.safetensors")


def test_a_tflite_file_with_data_from_a_flag(
    finished_project: Path, project: Path, sigmaquant: Any
) -> None:
    ended = sigmaquant(
        *("export", *stages_of(finished_project), "--format", "tflite"),
        *("--calibration", "calibration.npz"),
    )
    assert ended.code == 0, ended.err
    assert "model.tflite: " in ended.out
    assert "verified in LiteRT" in ended.out
    assert (project / "model.tflite").read_bytes()[4:8] == b"TFL3"


def test_a_tflite_file_with_settings_from_a_configuration(
    finished_project: Path, project: Path, sigmaquant: Any
) -> None:
    config = (project / "run.toml").read_text()
    settings = '[export]\nformat = "tflite"\ntflite = { interface = "int8", variant = "fast" }\n'
    (project / "export.toml").write_text(config + settings)
    ended = sigmaquant(
        *("export", *stages_of(finished_project), "--config", "export.toml"),
        *("--variant", "small", "--channels-last", "--out", "n.tflite", "--json"),
    )
    assert ended.code == 0, ended.err
    verification = json.loads(ended.out)
    assert verification["runtime"].startswith("ai-edge-litert")
    assert verification["file_bytes"] == (project / "n.tflite").stat().st_size


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--format", "tflite"), "give samples (--calibration)"),
        (("--format", "coreml"), "--format: unknown export format 'coreml'; known: "),
        (("--variant", "tiny"), "--variant: expected 'fast' or 'small', not 'tiny'"),
        (("--coded", "--format", "c"), "only ONNX files hold weights in code, not c"),
        (("--interface", "int4"), "--interface: expected 'float32', 'int8' or 'uint8'"),
    ],
)
def test_what_cannot_be_exported_ends_with_code_2(
    finished_project: Path, project: Path, sigmaquant: Any, flags: tuple[str, ...], message: str
) -> None:
    ended = sigmaquant("export", *stages_of(finished_project), *flags)
    assert ended.code == 2
    assert message in " ".join(ended.err.split())
    assert not list(project.glob("model.*"))


def test_a_run_to_a_file_with_weights_in_code(project: Path, sigmaquant: Any) -> None:
    ended = sigmaquant("run", "run.toml", "--coded", "--flash", "8KiB", "--epochs", "0", "--json")
    assert ended.code == 0, ended.err
    report = sq.RunReport.model_validate_json(ended.out)
    assert [exported.verified for exported in report.exports] == [True]
    assert report.scoring.rounding == "coded"


def test_a_run_to_a_tflite_file(project: Path, sigmaquant: Any) -> None:
    settings = "--format", "tflite", "--flash", "3KiB", "--epochs", "0"
    ended = sigmaquant("run", "run.toml", *settings, "--json")
    assert ended.code == 0, ended.err
    report = sq.RunReport.model_validate_json(ended.out)
    (exported,) = report.exports
    assert (exported.format, exported.file_name) == ("tflite", "model.tflite")
    assert exported.verified
    assert exported.file_bytes == (project / "out" / "model.tflite").stat().st_size
    accuracy = report.quality_at("exported", "accuracy")
    assert accuracy is not None
    assert accuracy.samples == 100
