"""``sigmaquant check`` and what a run says of its calibration data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sigmaquant as sq


def images(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def network(finished_project: Path, project: Path) -> str:
    """The captured network; the current folder has three kinds of data."""
    np.savez(project / "calibration.npz", x=images(200, 0))
    np.savez(project / "same.npz", x=images(400, 1))
    np.savez(project / "brighter.npz", x=images(400, 1) + 1)
    np.savez(project / "tenfold.npz", x=images(400, 1) * 10)
    return str(finished_project / "out" / "network.pt2")


def test_0_where_the_data_are_alike(network: str, sigmaquant: Any) -> None:
    ended = sigmaquant(
        *("check", network, "--calibration", "calibration.npz", "--deployment", "same.npz")
    )
    assert ended.code == 0, ended.err
    assert ended.out.startswith("200 calibration samples against 400 deployment samples: 0 warn")
    assert ended.out.endswith("check: check.json\n")
    assert sq.CalibrationCheck.load("check.json").warnings == ()


def test_4_after_a_warning(network: str, sigmaquant: Any) -> None:
    ended = sigmaquant(
        *("check", network, "--calibration", "calibration.npz", "--deployment", "brighter.npz")
    )
    assert ended.code == 4
    assert "warning: The inputs themselves differ: deployment data have moved at conv1" in ended.out
    assert "Prepare both in the same way" in ended.out
    assert ended.err.startswith("error: the calibration data gave cause for warning: 200 calib")


def test_json_scores_and_evaluation_data_in_place_of_deployment(
    network: str, finished_project: Path, sigmaquant: Any
) -> None:
    scores = str(finished_project / "out" / "scores.json")
    ended = sigmaquant(
        *("check", network, "--calibration", "calibration.npz", "--evaluation", "tenfold.npz"),
        *("--scores", scores, "--out", "found.json", "--json"),
    )
    assert ended.code == 4
    check = sq.CalibrationCheck.model_validate(json.loads(ended.out))
    assert check == sq.CalibrationCheck.load("found.json")
    assert check.compared_with == "evaluation"
    assert check.stability is not None
    assert check.findings[0].kind == "scale"
    assert "9.96 times the spread" in check.findings[0].what


def test_2_bad_input(network: str, sigmaquant: Any) -> None:
    np.savez("empty.npz", x=images(0, 0))
    ended = sigmaquant("check", network, "--calibration", "calibration.npz")
    assert ended.code == 0, ended.err
    for data in ("empty.npz", "absent.npz"):
        ended = sigmaquant(
            *("check", network, "--calibration", "calibration.npz", "--deployment", data)
        )
        assert ended.code == 2
        assert "deployment data gave no samples" in ended.err or "no such file" in ended.err


def test_a_run_warns_and_keeps_the_check(network: str, sigmaquant: Any, project: Path) -> None:
    ended = sigmaquant("run", "run.toml", "--epochs", "0", "--deployment", "brighter.npz")
    assert ended.code == 0, ended.err
    assert "check: The inputs themselves differ" in ended.err
    assert "Calibration check: 200 calibration samples against 400 deployment samples" in ended.out
    assert "Warning: The inputs themselves differ" in ended.out
    report = sq.RunReport.load(project / "out" / "report.json")
    saved = sq.CalibrationCheck.load(project / "out" / "check.json")
    assert report.calibration is not None
    assert report.calibration.shifts == saved.shifts
    assert report.calibration.stability is not None
    assert saved.stability is None
    again = sigmaquant("run", "run.toml", "--epochs", "0", "--deployment", "same.npz")
    assert "score: unchanged" in again.err
    assert "check: done" in again.err
