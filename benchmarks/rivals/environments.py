"""The rivals' own environments, made from pinned requirements when they are first needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.assets import PROJECT_ROOT
from sigmaquant.errors import SigmaQuantError

FOLDER = PROJECT_ROOT / "runs" / "rivals" / "environments"
_REQUIREMENTS = Path(__file__).resolve().parent
_STAMP = "installed.txt"
_SHOWN_LINES = 12


class WorkerError(SigmaQuantError):
    """A rival's environment cannot be made, or its worker ended with an error."""


def python_of(name: str, folder: Path = FOLDER) -> Path:
    """The interpreter of a rival's environment, which is made now unless it is up to date.

    Raises:
        WorkerError: the packages cannot be installed.
    """
    requirements = requirements_of(name)
    environment = folder / name
    python = environment / "bin" / "python"
    stamp = environment / _STAMP
    wanted = requirements.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"making the environment of {name}; this takes minutes", flush=True)
    log = folder / f"{name}.log"
    _run([sys.executable, "-m", "venv", "--clear", str(environment)], log)
    _run([str(python), "-m", "pip", "install", "--requirement", str(requirements)], log)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def requirements_of(name: str) -> Path:
    """The pinned requirement file of a rival."""
    return _REQUIREMENTS / f"requirements-{name}.txt"


def run_worker(name: str, tasks: Sequence[Path], log: Path, folder: Path = FOLDER) -> None:
    """Answer task files in a rival's environment.

    Args:
        name: of the environment and of the module in ``workers``.
        tasks: task files.
        log: what the tool prints.
        folder: of all environments.

    Raises:
        WorkerError: the worker ended with an error; quotes the end of its log.
    """
    module = f"benchmarks.rivals.workers.{name}"
    _run([str(python_of(name, folder)), "-m", module, *map(str, tasks)], log)


def _run(command: Sequence[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        code = subprocess.call(command, cwd=PROJECT_ROOT, stdout=stream, stderr=subprocess.STDOUT)
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-_SHOWN_LINES:])
        raise WorkerError(f"{' '.join(command[1:4])} ended with {code}; {log} ends with\n{tail}")
