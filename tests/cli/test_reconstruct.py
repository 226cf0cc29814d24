"""Block reconstruction asked for by flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import sigmaquant as sq
from sigmaquant import run_stages
from sigmaquant.quantized import QuantizedNetwork


def test_quantize_reconstructs_with_the_given_steps(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    out = finished_project / "out"
    network = sq.Network.load(out / "network.pt2")
    made = {}
    for steps in ("0", "30"):
        ended = sigmaquant(
            *("quantize", str(out / "network.pt2"), str(out / "plan.json")),
            *("--calibration", str(finished_project / "calibration.npz"), "--rounding", "nearest"),
            *("--reconstruct", steps, "--out", str(tmp_path / steps)),
        )
        assert ended.code == 0, ended.err
        made[steps] = QuantizedNetwork.load(tmp_path / steps, network)
    plain, learned = made["0"].state(), made["30"].state()
    assert any(not torch.equal(value, learned[name]) for name, value in plain.items())
    assert made["30"].plan == made["0"].plan


def test_a_run_reconstructs_between_rounding_and_export(
    project: Path, sigmaquant: Any, monkeypatch: Any
) -> None:
    asked: list[dict[str, Any]] = []

    def reconstruct(
        network: sq.Network, start: QuantizedNetwork, calibration: object, **settings: Any
    ) -> QuantizedNetwork:
        asked.append(settings)
        return start

    monkeypatch.setattr(run_stages, "reconstruct", reconstruct)
    flags = ("--epochs", "0", "--seed", "3")
    for steps in ("0", "5", "5"):
        ended = sigmaquant("run", "run.toml", *flags, "--reconstruct", steps)
        assert ended.code == 0, ended.err
    # The third run finds the second's result; the first did not ask.
    assert asked == [{"steps": 5, "rounding": "compensated", "seed": 3}]
    ended = sigmaquant(
        "run", "run.toml", *flags, "--reconstruct", "5", "--coded", "--flash", "8KiB"
    )
    assert ended.code == 0, ended.err
    assert asked[1:] == [{"steps": 5, "rounding": "coded", "seed": 3}]
