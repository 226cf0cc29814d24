"""``sigmaquant devices fit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sigmaquant as sq
from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table

M4 = sq.load_profile("cortex-m4")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two captured networks, a plan, and times that are 1.5 x the profile's."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    rows = ["network,plan,latency_ms,energy_uj"]
    for name, model, shape in (
        ("conv", convolution, (1, 3, 8, 8)),
        ("mlp", nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), (1, 16)),
    ):
        network = sq.capture(model.eval(), torch.zeros(shape))
        network.save(tmp_path / f"{name}.pt2")
        plan = BitPlan.uniform(network.table, 8 if name == "conv" else 3)
        plan.save(tmp_path / f"{name}.json")
        totals = cost_table(network.table, M4).totals(plan)
        named = "" if name == "conv" else f"{name}.json"
        energy = "" if name == "conv" else 3 * totals["energy_uj"]
        rows.append(f"{name}.pt2,{named},{1.5 * totals['latency_ms']},{energy}")
    (tmp_path / "board.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_board_becomes_a_profile(sigmaquant: Any, board: Path) -> None:
    ended = sigmaquant(
        "devices", "fit", "--profile", "cortex-m4", "--measurements", "board.csv",
        "--out", "mine.toml",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    fitted = sq.load_profile("mine.toml")
    assert fitted.name == "mine"
    assert fitted.calibration is not None
    assert fitted.calibration.measurements == 2
    assert fitted.calibration.energy_scale == pytest.approx(2.0)
    assert all(s == pytest.approx(1.5) for s in fitted.calibration.latency_scale.values())
    assert "mlp.pt2" in ended.out
    assert "median error of left-out rows: 0.0 %" in ended.out
    assert "next: measure a network or layers that are mostly depthwise_conv" in ended.out
    shown = sigmaquant("devices", "show", "mine.toml")
    assert "calibrated: 2 measurements in board.csv, fitted from cortex-m4" in shown.out


def test_json_is_the_calibration_and_what_to_measure(sigmaquant: Any, board: Path) -> None:
    ended = sigmaquant(
        "devices", "fit", "--profile", "cortex-m4", "--measurements", "board.csv", "--json",
        "--name", "desk",
    )  # fmt: skip
    content = json.loads(ended.out)
    assert content["latency_scale"]["conv"] == pytest.approx(1.5)
    assert content["advice"]
    assert sq.load_profile("board.toml").name == "desk"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile", "cortex-m5", "--measurements", "board.csv"), "did you mean 'cortex-m"),
        (("--profile", "cortex-m4", "--measurements", "none.csv"), "none.csv: cannot read"),
        (("--profile", "cortex-m4", "--measurements", "conv.json"), "conv.json"),
        (("--profile", "cortex-m4", "--measurements", "absent.csv"), "gone.pt2"),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(
    sigmaquant: Any, board: Path, arguments: tuple[str, ...], said: str
) -> None:
    (board / "absent.csv").write_text("network,latency_ms\ngone.pt2,3\n")
    ended = sigmaquant("devices", "fit", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert not (board / "board.toml").exists()
