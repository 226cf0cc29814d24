"""Every exit code, through the installed command, and what survives a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq


def test_0_a_finished_run(finished_project: Path) -> None:
    report = sq.RunReport.load(finished_project / "out" / "report.json")
    assert report.exports[0].verified
    assert report.provenance.commands == ("sigmaquant run run.toml",)
    assert report.final_quality("accuracy") is not None


def test_0_a_rerun_reads_what_is_there(finished_project: Path, installed: Any) -> None:
    ended = installed.run("run", "run.toml", folder=finished_project)
    assert ended.code == 0
    assert "score: unchanged" in ended.err
    assert "export: unchanged" in ended.err
    assert "instead of" in ended.out
    assert "report: out/report.html" in ended.out


def test_2_bad_input(project: Path, installed: Any) -> None:
    ended = installed.run("run", "run.toml", "--device", "cortex-m44", folder=project)
    assert ended.code == 2
    assert ended.err.startswith("error: unknown device 'cortex-m44'; did you mean 'cortex-m4'")
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_2_unknown_flags(project: Path, installed: Any) -> None:
    ended = installed.run("run", "--flsh", "1KiB", folder=project)
    assert ended.code == 2
    assert "--flsh" in ended.err


def test_3_infeasible(project: Path, installed: Any) -> None:
    ended = installed.run("run", "run.toml", "--flash", "100B", folder=project)
    assert ended.code == 3
    assert ended.err.splitlines()[-1].startswith("error: flash of 100 B cannot be met on cortex-m4")
    assert "score" not in ended.err.replace("error", "")


def test_4_a_failed_gate(project: Path, installed: Any) -> None:
    flags = ("--flash", "620B", "--epochs", "0", "--max-drop", "0")
    ended = installed.run("run", "run.toml", *flags, folder=project)
    assert ended.code == 4
    assert "error: the accuracy dropped by" in ended.err
    assert "instead of" in ended.out
    assert (project / "out" / "report.html").exists()


def killed_at(process: subprocess.Popen[str], line: str, number: int) -> None:
    """Send the signal as soon as the process has logged the line."""
    assert process.stderr is not None
    for logged in process.stderr:
        if line in logged:
            process.send_signal(number)
            break
    else:
        pytest.fail(f"the process never logged {line!r}")
    process.communicate(timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_130_control_c_and_a_kill_leave_a_run_that_goes_on(
    project: Path, finished_project: Path, installed: Any
) -> None:
    interrupted = installed.start("run", "run.toml", folder=project)
    killed_at(interrupted, "score ...", signal.SIGINT)
    assert interrupted.returncode == 130
    killed = installed.start("run", "run.toml", folder=project)
    killed_at(killed, "finetune ...", signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    ended = installed.run("run", "run.toml", folder=project)
    assert ended.code == 0, ended.err
    assert "score: unchanged" in ended.err
    assert "quantize: unchanged" in ended.err
    assert "finetune: done" in ended.err
    model = "out/model.onnx"
    assert (project / model).read_bytes() == (finished_project / model).read_bytes()


def test_the_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sigmaquant", "devices", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {each["name"] for each in json.loads(ended.stdout)} == set(sq.available_profiles())
