"""``sigmaquant devices estimate``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sigmaquant as sq
from sigmaquant.bitplan import BitPlan
from sigmaquant.devices.estimators import (
    ESTIMATORS,
    Estimate,
    OperatorEstimate,
    PlannedNetwork,
)

ABSENT = any(importlib.util.find_spec(name) is None for name in ("ethosu", "ai_edge_litert"))


@pytest.mark.skipif(ABSENT, reason="Vela or LiteRT is not installed")
def test_an_exported_file_is_estimated(sigmaquant: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()
    network = sq.capture(model, torch.zeros(1, 3, 8, 8))
    plan = BitPlan.uniform(network.table, 8)
    path = tmp_path / "model.tflite"
    samples = [torch.randn(16, 3, 8, 8)]
    sq.export(sq.quantize(network, plan, samples), path, format="tflite", samples=samples)
    shown = sigmaquant("devices", "estimate", str(path))
    assert shown.code == 0, shown.err
    assert "Conv2D" in shown.out
    assert "ms, estimated by Vela" in shown.out
    found = json.loads(sigmaquant("devices", "estimate", str(path), "--json").out)
    operators = sum(each["latency_ms"] for each in found["operators"])
    assert operators == pytest.approx(found["latency_ms"])
    assert found["target"] == "ethos-u55-128"


def test_an_unknown_tool_is_refused(sigmaquant: Any) -> None:
    ended = sigmaquant("devices", "estimate", "model.tflite", "--with", "crystal-ball")
    assert ended.code == 2
    assert "unknown estimator 'crystal-ball'; there is vela, zigzag" in ended.err


def test_a_planned_network_is_estimated(
    sigmaquant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Tool:
        def targets(self) -> tuple[str, ...]:
            return ("chip",)

        def estimate(self, model: Any, target: str, mhz: float | None) -> Estimate:
            asked.append((model, target, mhz))
            operator = OperatorEstimate(name="1", operator="linear", latency_ms=2, energy_uj=3)
            return Estimate(
                tool="Tool", target=target, latency_ms=2, energy_uj=3, operators=(operator,)
            )

    monkeypatch.setitem(ESTIMATORS, "zigzag", Tool())
    network = sq.capture(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), torch.zeros(1, 4))
    network.table.save(tmp_path / "net.json")
    BitPlan.uniform(network.table, 3).save(tmp_path / "plan.json")
    command = ("devices", "estimate", str(tmp_path / "net.json"), "--with", "zigzag", "--mhz", "9")
    shown = sigmaquant(*command, "--plan", str(tmp_path / "plan.json"))
    assert shown.code == 0, shown.err
    assert "chip: 2 ms, estimated by Tool" in shown.out
    assert "3 uJ, layers with weights alone" in shown.out
    assert "flash" not in shown.out
    (planned, target, mhz), *_ = asked
    assert (target, mhz) == ("chip", 9)
    assert planned == PlannedNetwork(network.table, BitPlan.uniform(network.table, 3))


def test_a_plan_of_another_network_is_refused(sigmaquant: Any, tmp_path: Path) -> None:
    network = sq.capture(nn.Sequential(nn.Linear(4, 2)).eval(), torch.zeros(1, 4))
    network.save(tmp_path / "network.pt2")
    plan = BitPlan(weight_bits={"other": 4}, activation_bits={}, origin="by hand")
    plan.save(tmp_path / "plan.json")
    command = "devices", "estimate", str(tmp_path / "network.pt2"), "--plan"
    ended = sigmaquant(*command, str(tmp_path / "plan.json"), "--with", "zigzag")
    assert (ended.code, "the plan does not cover 0" in ended.err) == (2, True)


def test_a_file_has_its_widths_in_it(sigmaquant: Any) -> None:
    ended = sigmaquant("devices", "estimate", "model.tflite", "--plan", "plan.json")
    assert (ended.code, "has its widths in it" in ended.err) == (2, True)
