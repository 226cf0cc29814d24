"""Programs read from ELF files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from sigmaquant.errors import ArtifactError, VerificationError
from sigmaquant.profiling.cores import CORES
from sigmaquant.profiling.cross_compiler import CrossCompiler
from sigmaquant.profiling.emulator import FLASH_ADDRESS, RAM_ADDRESS, Emulator
from sigmaquant.profiling.image import Image, read_image

SOURCE = """
#include <stdint.h>
#include <string.h>
void sq_pause(int32_t reason);
volatile uint32_t first = 7, second;
const char text[] = "constant";
int main(void)
{
    char copy[sizeof text];
    for (;;) {
        memcpy(copy, text, sizeof text);
        second += first + (uint8_t)copy[0];
        sq_pause((int32_t)second);
    }
}
"""


def test_a_compiled_program_starts_with_its_variables(
    cross_compiler: CrossCompiler, tmp_path: Path
) -> None:
    source = tmp_path / "main.c"
    source.write_text(SOURCE)
    image = cross_compiler.image([source], [], CORES["cortex-m4"])
    assert image.data_bytes == 4
    assert image.zeroed_bytes == 4
    assert 0 < image.text_bytes < 1000
    assert image.symbols["first"] == RAM_ADDRESS
    emulator = Emulator(image, "cortex-m4")
    assert emulator.run() == 7 + ord("c")
    assert emulator.run() == 2 * (7 + ord("c"))
    assert emulator.read(image.symbols["second"], 4) == struct.pack("<I", 2 * (7 + ord("c")))


def test_what_the_compiler_refuses_is_in_the_error(
    cross_compiler: CrossCompiler, tmp_path: Path
) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return missing; }\n")
    with pytest.raises(VerificationError, match=r"refuses: .*missing"):
        cross_compiler.image([source], [], CORES["cortex-m7"])


def test_functions_are_found_by_their_code(assembled: Callable[..., Image]) -> None:
    image = assembled(0x2005, 0xE7FE, 0x4770)
    begin = image.symbols["main"]
    assert [image.function_at(begin + i) for i in (-1, 0, 3, 4, 6)] == [
        "?", "main", "main", "sq_pause", "?",
    ]  # fmt: skip
    assert image.code(begin + 2, 2) == b"\xfe\xe7"


def test_files_that_are_no_programs(tmp_path: Path) -> None:
    path = tmp_path / "program.elf"
    path.write_bytes(b"MZ" + bytes(100))
    with pytest.raises(ArtifactError, match="no program for a 32-bit Arm"):
        read_image(path)
    header = bytearray(52)
    header[:6] = b"\x7fELF\x01\x01"
    header[18] = 40
    header[28:32] = struct.pack("<I", FLASH_ADDRESS)
    header[44] = 1
    path.write_bytes(header)
    with pytest.raises(ArtifactError, match="damaged"):
        read_image(path)
