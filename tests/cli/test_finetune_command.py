"""``sigmaquant finetune`` and what ``run`` says of training."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest


def test_calibration_data_alone_are_trained_on(finished_project: Path, sigmaquant: Any) -> None:
    out = finished_project / "out"
    tuned = str(finished_project / "tuned.safetensors")
    ended = sigmaquant(
        *("finetune", str(out / "network.pt2"), str(out / "plan.json"), "--out", tuned),
        *("--calibration", str(finished_project / "calibration.npz"), "--train-on-calibration"),
        *(
            "--mirrored",
            "--epochs",
            "2",
            "--learning-rate",
            "0.003",
            "--feature-weight",
            "0.5",
            "--damping",
            "0.1",
        ),
        *("--precision", "bfloat16", "--memory", "1GiB"),
    )
    assert ended.code == 0, ended.err
    assert "samples at a time within 1024 MiB" in ended.err
    assert ended.out.startswith("fine-tuned for 2 epochs")
    assert Path(tuned).exists()


def test_a_checkpoint_belongs_to_the_way_images_are_moved(
    finished_project: Path, sigmaquant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints: list[Path] = []

    def killed(*_: object, checkpoint: Path, **__: object) -> None:
        checkpoints.append(checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("sigmaquant.finetune"), "finetune", killed)
    out, data = finished_project / "out", str(finished_project / "calibration.npz")
    files = ("finetune", str(out / "network.pt2"), str(out / "plan.json"), "--calibration", data)
    for flags in (["--train-on-calibration"], ["--train-on-calibration", "--mirrored"]):
        assert sigmaquant(*files, *flags).code == 130
    assert len(set(checkpoints)) == 2


def test_what_is_missing_or_wrong_is_said(finished_project: Path, sigmaquant: Any) -> None:
    out = finished_project / "out"
    files = ("finetune", str(out / "network.pt2"), str(out / "plan.json"))
    ended = sigmaquant(*files)
    assert ended.code == 2
    assert "give --training, --config, or --train-on-calibration" in ended.err
    ended = sigmaquant(*files, "--precision", "half")
    assert "--precision: expected 'auto', 'float32' or 'bfloat16', not 'half'" in ended.err
    ended = sigmaquant(*files, "--memory", "much")
    assert "--memory: 'much' is not a size" in ended.err


def test_training_and_calibration_data_cannot_both_be_trained_on(
    project: Path, sigmaquant: Any
) -> None:
    ended = sigmaquant("run", "run.toml", "--train-on-calibration")
    assert ended.code == 2
    assert "training data are given too; leave out one of them" in ended.err
