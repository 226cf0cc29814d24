"""``sigmaquant export --format tflm`` and others, alone and inside a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq


def exported(out: Path, sigmaquant: Any, *flags: str) -> Any:
    return sigmaquant(
        "export", str(out / "network.pt2"), str(out / "quantized.safetensors"), *flags
    )


def test_a_micro_file_is_exported_with_the_kernels_to_register(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    pytest.importorskip("tflite_micro")
    ended = exported(
        finished_project / "out", sigmaquant,
        "--format", "tflm", "--calibration", str(finished_project / "calibration.npz"),
        "--out", str(tmp_path / "net.tflite"),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    described, kernels = ended.out.splitlines()
    assert "of RAM, verified in TensorFlow Lite Micro" in described
    assert kernels.startswith("kernels to register: ")
    assert "QUANTIZE" in kernels


def test_a_qonnx_file_is_exported(finished_project: Path, sigmaquant: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    ended = exported(finished_project / "out", sigmaquant, "--format", "qonnx", "--out", str(path))
    assert ended.code == 0, ended.err
    assert "verified in a simulation in ONNX Runtime" in ended.out
    assert path.exists()


@pytest.mark.parametrize(("name", "lists"), [("tflm", True), ("qonnx", False)])
def test_a_run_exports_measures_and_reports(
    project: Path, sigmaquant: Any, name: str, lists: bool
) -> None:
    if name == "tflm":
        pytest.importorskip("tflite_micro")
    config = project / "run.toml"
    config.write_text(config.read_text() + f'\n[export]\nformat = "{name}"\n')
    ended = sigmaquant("run", "run.toml", "--epochs", "0", "--flash", "8KiB", "--out", "out")
    assert ended.code == 0, ended.err
    report = sq.RunReport.load(project / "out" / "report.json")
    assert report.exports[0].format == name
    assert report.target.name == ("cortex-m4 + tflm" if name == "tflm" else "cortex-m4")
    assert bool(report.exports[0].kernels_to_register) == lists
    assert ("kernels to register: " in ended.out) == lists
    assert report.quality_at("exported", "accuracy") is not None
