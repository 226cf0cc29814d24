"""Runs an exported library as a program of this machine."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import VerificationError
from sigmaquant.export.c.compiler import Compiler, run_program
from sigmaquant.export.c.folder import flat_samples, named_samples, resource
from sigmaquant.export.c.manifest import Manifest

Array = npt.NDArray[Any]


class CNetwork:
    """A network in C: float32 in, float32 out.

    Args:
        folder: of the library.
        compiler: what builds it.

    Raises:
        VerificationError: the library does not compile.
        ArtifactError: the folder holds no exported library.
    """

    def __init__(self, folder: Path, compiler: Compiler) -> None:
        self._manifest = Manifest.load(folder / "model.json")
        self._folder, self._compiler = folder, compiler
        self._built = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self._built, ignore_errors=True)
        kernels = sorted((folder / "kernels").glob("*.c"))
        self._kernels = compiler.objects(kernels, self._built)
        self._stream = self._program("host", "stream.c", "stream")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for a batch of inputs by name: (batch, *shape), float32.

        Raises:
            VerificationError: the program crashes.
        """
        flat = self._streamed(self._stream, inputs).view(np.float32)
        return named_samples(flat, self._manifest.outputs)

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """All outputs in order for a batch of inputs in order."""
        names = [port.name for port in self._manifest.inputs]
        return tuple(self.run(dict(zip(names, inputs, strict=True))).values())

    def trace(self, inputs: Mapping[str, Array], sizes: Sequence[int]) -> list[Array]:
        """The memory of each step's result, as (batch, bytes).

        Args:
            inputs: as for ``run``.
            sizes: of each step's result, in bytes.
        """
        program = self._program("host", "stream.c", "trace", "-DSTREAM_STEPS")
        return np.split(self._streamed(program, inputs), np.cumsum(sizes), axis=1)[:-1]

    def passes_own_check(self) -> bool:
        """Whether the check that is part of the library finds no difference."""
        model = str(self._folder / "model.c")
        return run_program([self._program("project", "check.c", "check", model)]).returncode == 0

    def _program(self, kind: str, source: str, name: str, *flags: str) -> Path:
        main, program = self._built / source, self._built / name
        main.write_text(resource(kind, source), encoding="utf-8")
        self._compiler.program(main, self._kernels, program, f"-I{self._folder}", *flags)
        return program

    def _streamed(self, program: Path, inputs: Mapping[str, Array]) -> Array:
        """What the program writes for the samples, as (batch, bytes)."""
        samples = flat_samples(inputs, [port.name for port in self._manifest.inputs])
        ended = run_program([program], samples.tobytes())
        if ended.returncode:
            message = ended.stderr.decode(errors="replace").strip() or f"code {ended.returncode}"
            raise VerificationError(f"the exported library crashed: {message}")
        return np.frombuffer(bytearray(ended.stdout), np.uint8).reshape(len(samples), -1)
