"""The C compiler of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sigmaquant.errors import VerificationError

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion")
"""Flags that an exported library compiles with."""
NONE_FOUND = "no C compiler found (cc, gcc or clang, or the one that CC names)"

_NAMES = ("cc", "gcc", "clang")
_OPTIMISATION = "-O1"  # what is measured here is not its speed
_SECONDS = 600


@dataclass(frozen=True)
class Compiler:
    """A compiler's command and further flags for it."""

    command: tuple[str, ...]
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The program's name, as a user knows it."""
        return Path(self.command[0]).name

    def objects(self, sources: Iterable[Path], folder: Path) -> list[Path]:
        """Compile each source to an object file in the folder.

        Raises:
            VerificationError: the compiler refuses; its first message is in the error.
        """
        built = []
        for source in sources:
            built.append(folder / f"{source.stem}.o")
            self._run("-c", source, "-o", built[-1])
        return built

    def program(self, main: Path, parts: Sequence[Path], program: Path, *flags: str) -> None:
        """Compile and link a program.

        Raises:
            VerificationError: the compiler refuses; its first message is in the error.
        """
        self._run(*flags, main, *parts, "-o", program)

    def _run(self, *arguments: str | Path) -> None:
        ended = run_program([*self.command, *STRICT, _OPTIMISATION, *self.flags, *arguments])
        if ended.returncode:
            lines = ended.stderr.decode(errors="replace").splitlines()
            first = next((line for line in lines if "error" in line), "without a message")
            raise VerificationError(f"{self.name} cannot compile the exported library: {first}")


def find_compiler() -> Compiler | None:
    """The compiler that ``CC`` names, or the first known one; None where there is none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for name, *options in [chosen] if chosen else [[name] for name in _NAMES]:
        path = shutil.which(name)
        if path is not None:
            return Compiler((path, *options))
    return None


def run_program(
    command: Sequence[str | Path], given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, and keep what it prints.

    Raises:
        VerificationError: it takes ten minutes.
    """
    try:
        return subprocess.run(
            [str(part) for part in command],
            input=given,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise VerificationError(f"{command[0]} took more than {_SECONDS} s") from error
