"""Strategies and metrics through the command: with data, without, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq
from sigmaquant.sensitivity import SensitivityTable


@pytest.fixture
def search(project: Path, finished_project: Path, sigmaquant: Any) -> Any:
    """``sigmaquant search`` on the finished project's network and scores."""
    out = finished_project / "out"

    def run(*arguments: str, scores: Path = out / "scores.json") -> Any:
        files = (str(out / "network.pt2"), str(scores))
        return sigmaquant("search", *files, "--device", "cortex-m4", *arguments)

    return run


def test_without_data_from_the_weights_to_a_plan(
    finished_project: Path, project: Path, sigmaquant: Any, search: Any
) -> None:
    network = str(finished_project / "out" / "network.pt2")
    ended = sigmaquant("score", network, "--metric", "sigma")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("rise of weight histogram KL, by bits")
    scores = SensitivityTable.load("scores.json")
    assert (scores.metric, scores.samples) == ("sigma", 0)
    ended = search("--strategy", "sigma", "--flash", "1000B", scores=project / "scores.json")
    assert ended.code == 0, ended.err
    assert "of 1000 B" in ended.out
    assert sq.BitPlan.load("plan.json").origin == "sigma"


def test_refine_measures_on_calibration_data(project: Path, search: Any) -> None:
    budget = ("--flash", "900B", "--calibration", "calibration.npz")
    ended = search("--strategy", "refine", *budget, "--json")
    assert ended.code == 0, ended.err
    plan = sq.BitPlan.model_validate_json(ended.out)
    assert plan.origin == "refine" or plan.origin.startswith("uniform")
    again = search("--strategy", "refine", *budget, "--json")
    assert json.loads(again.out) == json.loads(ended.out)


def test_2_refine_without_data(search: Any) -> None:
    ended = search("--strategy", "refine", "--flash", "1000B")
    assert ended.code == 2
    assert "give calibration data or a measure, or choose 'exact'" in ended.err


def test_2_a_strategy_that_is_none(search: Any) -> None:
    ended = search("--strategy", "sigmo")
    assert ended.code == 2
    assert "did you mean 'sigma'? Known: exact, greedy, sigma, refine" in ended.err


@pytest.mark.parametrize("strategy", ["exact", "greedy", "sigma", "refine"])
def test_3_every_strategy_refuses_what_cannot_be_met(search: Any, strategy: str) -> None:
    ended = search(*("--strategy", strategy, "--flash", "100B", "--calibration", "calibration.npz"))
    assert ended.code == 3
    assert "flash of 100 B cannot be met on cortex-m4" in ended.err


def test_2_scores_that_lack_the_deviations(
    finished_project: Path, project: Path, search: Any
) -> None:
    scores = SensitivityTable.load(finished_project / "out" / "scores.json")
    scores.model_copy(update={"weight_sigmas": {}}).save("old.json")
    ended = search("--strategy", "sigma", scores=project / "old.json")
    assert ended.code == 2
    assert "no standard deviations of the weights" in ended.err


def test_widths_are_those_that_the_runtime_stores(search: Any) -> None:
    ended = search("--runtime", "litert-fast", "--flash", "6KiB", "--json")
    assert ended.code == 0, ended.err
    plan = sq.BitPlan.model_validate_json(ended.out)
    assert set(plan.weight_bits.values()) <= {4, 8}


def test_2_a_runtime_that_is_none(search: Any) -> None:
    ended = search("--runtime", "tflite-micro")
    assert ended.code == 2
    assert "unknown runtime 'tflite-micro'; did you mean 'tflm'? Shipped: c," in ended.err
