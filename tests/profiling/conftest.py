"""A compiler for Cortex-M, and programs for it: in machine code, and an exported library."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sigmaquant.errors import MissingToolError
from sigmaquant.export import export_c
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import IntegerProgram
from sigmaquant.profiling.cross_compiler import CrossCompiler, find_cross_compiler
from sigmaquant.profiling.emulator import FLASH_ADDRESS, MEMORY_BYTES, PAUSE, RAM_ADDRESS
from sigmaquant.profiling.image import Function, Image, Segment
from tests.export.conftest import ProgramBuilder

CODE = FLASH_ADDRESS + 8

BRANCH_TO_ITSELF = 0xE7FE
RETURN = 0x4770  # bx lr


def image_of(*halfwords: int) -> Image:
    """A program of these instructions behind the vector table; ``sq_pause`` is the last one."""
    code = struct.pack(f"<{len(halfwords)}H", *halfwords)
    vectors = struct.pack("<2I", RAM_ADDRESS + MEMORY_BYTES, CODE | 1)
    pause = CODE + len(code) - 2
    functions = Function("main", CODE, len(code) - 2), Function(PAUSE, pause, 2)
    return Image(
        segments=(Segment(FLASH_ADDRESS, vectors + code),),
        functions=functions,
        symbols={function.name: function.address for function in functions},
    )


@pytest.fixture
def assembled() -> Callable[..., Image]:
    return image_of


@pytest.fixture(scope="session")
def cross_compiler() -> CrossCompiler:
    try:
        return find_cross_compiler()
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def program() -> tuple[IntegerProgram, dict[str, np.ndarray]]:
    """A small network with every width and most operators, and a batch for it."""
    build = ProgramBuilder(3)
    value = build.quantize(build.input((3, 7, 6)))
    for bits in WIDTHS:
        value = build.convolution(value, 6, bits=bits)
    value = build.add(value, build.convolution(value, 6, (1, 1), bits=4))
    value = build.convolution(value, 6, bits=5, groups=6, stride=2)
    value = build.lookup(build.max_pool(build.pad(value, ((0, 0), (1, 1), (0, 1)))))
    outputs = build.linear(build.global_average(value), 5, bits=6, to_float=True)
    return build.program(outputs), build.batch(3)


@pytest.fixture(scope="session")
def library(
    program: tuple[IntegerProgram, dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """That network as a C library."""
    folder = tmp_path_factory.mktemp("libraries") / "net"
    export_c(*program[:1], folder, program[1])
    return folder
