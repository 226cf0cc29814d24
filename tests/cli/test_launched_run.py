"""``sigmaquant run``, one of whose two processes is killed, and ``sigmaquant finetune`` in two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from sigmaquant.report import RunReport
from tests.launching import launched

LOADER = """
import os
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

class Dying(DataLoader):
    seen = 0

    def __iter__(self):
        for item in super().__iter__():
            Dying.seen += 1
            if os.environ["RANK"] == "1" and str(Dying.seen) == os.environ.get("DIES_AT"):
                os._exit(9)
            yield item

def training():
    data = np.load("training.npz")
    samples = TensorDataset(torch.from_numpy(data["x"]), torch.from_numpy(data["y"]))
    return Dying(samples, batch_size=16, shuffle=True)
"""
COMMAND = ("run", "run.toml", "--training", "loader.py:training", "--epochs", "2", "--revise")


def saved(project: Path, stage: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What a stage of the run of one process and of that of two have left."""
    one, two = (project / folder / f"{stage}.safetensors" for folder in ("one", "two"))
    return safetensors.torch.load_file(one), safetensors.torch.load_file(two)


def assert_trained_alike(one: torch.Tensor, two: torch.Tensor, name: str) -> None:
    """Equal to float rounding but for one value in a hundred, which is two steps off at most.

    The loss here is 1e-5, so a few gradients are nothing but the rounding of sums, and Adam steps
    by a thousandth of the size of what it moves whatever the gradient's size is.
    """
    close = torch.isclose(one, two, rtol=1e-4, atol=1e-6)
    assert float(close.float().mean()) >= 0.99, name
    step = 0.001 * float(one.float().square().mean().sqrt())
    assert torch.allclose(one, two, rtol=1e-4, atol=2 * step + 1e-6), name


def test_a_run_whose_process_was_killed_goes_on(
    project: Path, sigmaquant: Any, monkeypatch: Any
) -> None:
    (project / "loader.py").write_text(LOADER)
    module = ("-m", "sigmaquant", *COMMAND, "--out", "two")
    main, other = launched(*module, environment={"DIES_AT": "7"})
    assert other.code == 9
    assert main.code == 1
    assert "error: another process of this launch ended" in main.errors
    assert list((project / "two").glob("finetune-*.partial"))

    main, other = launched(*module)
    assert (main.code, other.code) == (0, 0), (main.errors, other.errors)
    assert "score: unchanged" in main.errors
    assert "report: two/report.html" in main.printed
    assert (other.printed, other.errors) == ("", "")

    monkeypatch.setenv("RANK", "0")
    alone = sigmaquant(*COMMAND, "--out", "one")
    assert alone.code == 0, alone.err
    for name in ("scores.json", "plan.json"):
        assert (project / "two" / name).read_bytes() == (project / "one" / name).read_bytes()
    start_alone, start_shared = saved(project, "quantized")
    assert all(torch.equal(value, start_shared[name]) for name, value in start_alone.items())
    trained_alone, trained_shared = saved(project, "finetuned")
    for name, value in trained_alone.items():
        assert_trained_alike(value, trained_shared[name], name)
    reports = [RunReport.load(project / folder / "report.json") for folder in ("one", "two")]
    assert reports[0].final_quality("accuracy") == reports[1].final_quality("accuracy")


def test_two_processes_fine_tune_together(project: Path, sigmaquant: Any, monkeypatch: Any) -> None:
    (project / "loader.py").write_text(LOADER)
    prepared = sigmaquant("run", "run.toml", "--epochs", "0")
    assert prepared.code == 0, prepared.err
    command = (
        *("finetune", "out/network.pt2", "out/plan.json", "--training", "loader.py:training"),
        *("--calibration", "calibration.npz", "--epochs", "2", "--out"),
    )
    main, other = launched("-m", "sigmaquant", *command, "two.safetensors")
    assert (main.code, other.code) == (0, 0), (main.errors, other.errors)
    assert main.printed == "fine-tuned for 2 epochs: two.safetensors\n"
    assert (other.printed, other.errors) == ("", "")
    assert not list(project.glob("*.partial"))

    monkeypatch.setenv("RANK", "0")
    alone = sigmaquant(*command, "one.safetensors")
    assert alone.code == 0, alone.err
    one, two = (
        safetensors.torch.load_file(project / f"{name}.safetensors") for name in ("one", "two")
    )
    for name, value in one.items():
        assert_trained_alike(value, two[name], name)
