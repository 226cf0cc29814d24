"""All kernels of the C export, compiled strictly for the processors that they are for."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest

from sigmaquant.export.c.compiler import STRICT, run_program
from sigmaquant.export.c.model import build_model
from sigmaquant.layers import WIDTHS
from sigmaquant.profiling.cross_compiler import CrossCompiler, write_bare

KERNELS = Path(inspect.getfile(build_model)).parent / "kernels"
TEMPLATES = [
    (kind, bits)
    for kind, bits in itertools.product(("dot", "dot_one", "widen"), WIDTHS)
    if (kind, bits) != ("widen", 8)
]


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_every_kernel_compiles_without_a_warning(
    cross_compiler: CrossCompiler, tmp_path: Path, cpu: str
) -> None:
    write_bare(tmp_path, "string.h")
    sources = sorted(KERNELS.glob("*.c"))
    for kind, bits in TEMPLATES:
        sources.append(tmp_path / f"sq_{kind}_w{bits}.c")
        sources[-1].write_text(f'#define SQ_BITS {bits}\n#include "sq_{kind}_template.h"\n')
    if cross_compiler.is_gcc:
        target = [f"-mcpu={cpu}", "-mthumb", "-ffreestanding"]
    else:
        zig_cpu = cpu.replace("-", "_") + ("+dsp" if cpu == "cortex-m33" else "")
        target = ["-target", "thumb-freestanding-eabi", f"-mcpu={zig_cpu}"]
    assert {"-Wall", "-Wextra", "-Werror", "-Wconversion"} <= set(STRICT)
    flags = [*STRICT, *target, "-O1", f"-I{tmp_path}", f"-I{KERNELS}", "-c"]
    for source in sources:
        command = [*cross_compiler.command, *flags, source, "-o", tmp_path / f"{source.stem}.o"]
        ended = run_program(command)
        assert ended.returncode == 0, ended.stderr.decode()
