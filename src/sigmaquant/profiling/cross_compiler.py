"""Compilers for bare Cortex-M processors: GCC where it is installed, else Zig's from PyPI."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from sigmaquant.errors import MissingToolError, VerificationError
from sigmaquant.export.c.compiler import run_program
from sigmaquant.profiling.cores import Core
from sigmaquant.profiling.image import Image, read_image

_GCC = "arm-none-eabi-gcc"
_ZIG = "ziglang"
_LANGUAGE = "-std=c99"
_OPTIMISATION = "-O2"  # as the exported project's own Makefile
_SECTIONS = ("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")
_GCC_FLAGS = ("-mthumb", "-ffreestanding", "-nostdlib")
_ZIG_FLAGS = ("-target", "thumb-freestanding-eabihf", "-fno-sanitize=all")


@dataclass(frozen=True)
class CrossCompiler:
    """A compiler's command.

    Attributes:
        command: what is called.
        version: name and version, as evidence of what was compiled with it.
    """

    command: tuple[str, ...]
    version: str

    @property
    def is_gcc(self) -> bool:
        """Whether it takes GCC's flags; else Zig's."""
        return len(self.command) == 1

    def image(self, sources: Iterable[Path], includes: Iterable[Path], core: Core) -> Image:
        """Compile and link a program with the start-up code of ``bare/``.

        Args:
            sources: C files.
            includes: folders of their headers.
            core: the processor.

        Raises:
            VerificationError: the compiler refuses; its first message is in the error.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_bare(folder, "start.c", "string.h", "image.ld")
            program = folder / "program.elf"
            script = f"-Wl,-T,{folder / 'image.ld'}"
            paths = [f"-I{path}" for path in (folder, *includes)]
            libraries = ["-lgcc"] if self.is_gcc else []
            flags = [_LANGUAGE, _OPTIMISATION, *self._flags(core), *_SECTIONS, script, *paths]
            parts = [*map(str, sources), str(folder / "start.c"), *libraries]
            ended = run_program([*self.command, *flags, *parts, "-o", program])
            if ended.returncode:
                raise VerificationError(f"{self.version} refuses: {_first_error(ended.stderr)}")
            return read_image(program)

    def _flags(self, core: Core) -> tuple[str, ...]:
        if self.is_gcc:
            return (*_GCC_FLAGS, *core.gcc_flags)
        return (*_ZIG_FLAGS, f"-mcpu={core.zig_cpu}")


def write_bare(folder: Path, *names: str) -> None:
    """Copy files of ``bare/`` into a folder."""
    for name in names:
        text = resources.files("sigmaquant.profiling").joinpath("bare", name).read_text("utf-8")
        (folder / name).write_text(text, encoding="utf-8")


def _first_error(messages: bytes) -> str:
    lines = messages.decode(errors="replace").splitlines()
    return next((line for line in lines if "error" in line), "no message")


def find_cross_compiler() -> CrossCompiler:
    """GCC for Arm if it is on the path, else Zig's C compiler if that is installed.

    Raises:
        MissingToolError: neither is there; says how to install them.
    """
    path = shutil.which(_GCC)
    if path is not None:
        return CrossCompiler((path,), f"{_GCC} {_printed(path, '-dumpfullversion')}")
    if importlib.util.find_spec(_ZIG) is not None:
        command = (sys.executable, "-m", _ZIG)
        return CrossCompiler((*command, "cc"), f"zig cc {_printed(*command, 'version')}")
    raise MissingToolError(
        f"no compiler for Cortex-M: install {_GCC} (Debian and Ubuntu: apt install "
        f"gcc-arm-none-eabi; macOS: brew install arm-none-eabi-gcc), or pip install {_ZIG}"
    )


def _printed(*command: str) -> str:
    return run_program(command).stdout.decode(errors="replace").strip()
