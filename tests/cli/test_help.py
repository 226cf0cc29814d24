"""Help texts and version, without loading torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from sigmaquant._version import __version__

COMMANDS = [
    *("run", "capture", "score", "search", "pareto", "quantize", "finetune", "export", "report"),
    "demo",
    "check",
    "revise",
]


def test_version(sigmaquant: Any) -> None:
    ended = sigmaquant("--version")
    assert (ended.code, ended.out) == (0, f"{__version__}\n")


def test_help_lists_the_commands_and_exit_codes(sigmaquant: Any) -> None:
    ended = sigmaquant("--help")
    assert ended.code == 0
    for word in (*COMMANDS, "devices", "Exit codes", "130"):
        assert word in ended.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(sigmaquant: Any, command: str) -> None:
    ended = sigmaquant(command, "--help")
    assert ended.code == 0
    assert f"Example: sigmaquant {command}" in ended.out
    assert "--debug" in ended.out
    assert "--json" in ended.out


def test_no_arguments_is_help(sigmaquant: Any) -> None:
    ended = sigmaquant()
    assert ended.code == 2
    assert "Usage: sigmaquant [OPTIONS] COMMAND" in ended.out


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys\nfrom sigmaquant.cli.main import main\nsys.argv = ['sigmaquant', 'run', '-h']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
