"""What goes wrong is one clear line on stderr and exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

ZEROS = np.zeros((4, 1, 8, 8), dtype=np.float32)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "nets.py:Absent"), "nets.py has no 'Absent'"),
        (("--model", "absent.py:Net"), "no such file: absent.py"),
        (("--model", "absent.pt2"), "no such file: absent.pt2"),
        (("--model", "nets.py:diverged"), "conv2.weight holds NaN"),
        (("--weights", "absent.safetensors"), "no such file"),
        (("--calibration", "absent.npz"), "no such file: absent.npz"),
        (("--calibration", "run.toml"), "not a readable .npz"),
        (("--training", "absent.py:load"), "no such file: absent.py"),
        (("--device", "absent.toml"), "absent.toml: cannot read the file"),
        (("--flash", "-5KiB"), "--flash: '-5KiB' is not a size"),
        (("--latency", "5 KiB"), "--latency: '5 KiB': unknown unit"),
        (("--strategy", "best"), "--strategy: unknown strategy 'best'"),
        (("--out", "run.toml/out"), "cannot write run.toml/out"),
    ],
)
def test_run(project: Path, sigmaquant: Any, flags: tuple[str, ...], message: str) -> None:
    ended = sigmaquant("run", "run.toml", *flags)
    assert ended.code == 2
    assert ended.err.count("error: ") == 1
    assert message in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.full((4, 1, 8, 8), np.nan)}, "NaN"),
        ({"x": np.zeros((0, 1, 8, 8), dtype=np.float32)}, "no batch"),
        ({"x": np.zeros((4, 3, 8, 8), dtype=np.float32)}, "fails on the example input"),
        ({"x": ZEROS.astype(np.uint8)}, "fails on the example input"),
        ({"x": ZEROS, "y": np.zeros(3)}, "different numbers of samples"),
        ({"x": ZEROS[:1]}, "cannot be split"),
    ],
)
def test_calibration_data(
    project: Path, sigmaquant: Any, arrays: dict[str, Any], message: str
) -> None:
    np.savez(project / "calibration.npz", **arrays)
    ended = sigmaquant("run", "run.toml")
    assert ended.code == 2
    assert message in ended.err


def test_data_that_do_not_fit_a_captured_network(project: Path, sigmaquant: Any) -> None:
    assert sigmaquant("capture", "nets.py:Tiny", "--input-shape", "1x8x8").code == 0
    np.savez(project / "calibration.npz", x=np.zeros((4, 1, 9, 9), dtype=np.float32))
    ended = sigmaquant("run", "run.toml", "--model", "network.pt2")
    assert ended.code == 2
    assert "shape (4, 1, 9, 9); the network takes (batch, 1, 8, 8)" in ended.err


def test_a_model_that_cannot_be_exported(project: Path, sigmaquant: Any) -> None:
    ended = sigmaquant("capture", "nets.py:Branching", "--input-shape", "3")
    assert ended.code == 2
    assert "cannot be exported by torch.export" in ended.err


@pytest.mark.parametrize("shape", ["3,8,8", "3x-1", "big"])
def test_input_shapes_that_are_none(project: Path, sigmaquant: Any, shape: str) -> None:
    ended = sigmaquant("capture", "nets.py:Tiny", "--input-shape", shape)
    assert ended.code == 2
    assert "is no shape; write it like 3x32x32" in ended.err


def test_the_report_of_a_run_that_has_not_finished(project: Path, sigmaquant: Any) -> None:
    ended = sigmaquant("report", ".")
    assert ended.code == 2
    assert "no run has finished there" in ended.err
    ended = sigmaquant("report", "absent.json")
    assert ended.err == (
        "error: absent.json: cannot read the RunReport: No such file or directory\n"
    )


def test_calibration_data_are_named(project: Path, sigmaquant: Any) -> None:
    assert sigmaquant("capture", "nets.py:Tiny", "--input-shape", "1x8x8").code == 0
    np.savez(project / "calibration.npz", x=np.full_like(ZEROS, np.nan))
    ended = sigmaquant("score", "network.pt2", "--calibration", "calibration.npz")
    assert "error: calibration batch 0 holds NaN" in ended.err


def test_everything_that_a_run_needs_is_named(sigmaquant: Any) -> None:
    ended = sigmaquant("run", "--flash", "1KiB")
    assert ended.code == 2
    for name in ("--model", "--calibration", "--device", "--out"):
        assert name in ended.err


def test_mistakes_in_the_file_have_their_line(project: Path, sigmaquant: Any) -> None:
    (project / "run.toml").write_text("[target]\nflsh = '1 KiB'\n")
    ended = sigmaquant("run", "run.toml")
    assert ended.code == 2
    assert "run.toml:2: unknown key 'target.flsh'; did you mean 'flash'" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        ("score", "absent.pt2", "--calibration", "calibration.npz"),
        ("search", "absent.pt2", "absent.json", "--device", "cortex-m4"),
        ("quantize", "absent.pt2", "absent.json", "--calibration", "calibration.npz"),
        ("finetune", "absent.pt2", "absent.json", "--training", "training.npz"),
        ("export", "absent.pt2", "absent.safetensors"),
        ("report", "absent"),
        ("devices", "show", "absent"),
    ],
)
def test_stages_name_the_missing_file(
    project: Path, sigmaquant: Any, command: tuple[str, ...]
) -> None:
    ended = sigmaquant(*command)
    assert ended.code == 2
    assert "error: " in ended.err
    assert "absent" in ended.err


@pytest.mark.parametrize("command", [("score", "n.pt2"), ("quantize", "n.pt2", "p.json")])
def test_stages_ask_for_data(project: Path, sigmaquant: Any, command: tuple[str, ...]) -> None:
    assert (
        sigmaquant("capture", "nets.py:Tiny", "--input-shape", "1x8x8", "--out", "n.pt2").code == 0
    )
    from sigmaquant import BitPlan, Network

    BitPlan.uniform(Network.load("n.pt2").table, 4).save("p.json")
    ended = sigmaquant(*command)
    assert ended.code == 2
    assert "give --calibration" in ended.err


def test_debug_shows_the_traceback(sigmaquant: Any) -> None:
    ended = sigmaquant("devices", "show", "absent", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert "DeviceError: unknown device 'absent'" in ended.err


def test_a_missing_extra_names_the_pip_command(
    sigmaquant: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    ended = sigmaquant("demo", "--out", str(tmp_path))
    assert ended.code == 2
    assert "the demo needs an optional dependency: pip install 'sigmaquant-edge[demo]'" in ended.err
