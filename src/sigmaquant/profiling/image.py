"""A program for a bare processor: what its memories hold, and where its functions are."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sigmaquant.errors import ArtifactError

_MAGIC = b"\x7fELF\x01\x01"  # 32 bits, little-endian
_ARM = 40
_LOAD = 1
_SYMBOL_TABLE = 2
_FUNCTION, _OBJECT, _UNTYPED = 2, 1, 0
_ALLOCATED, _WRITABLE = 2, 1
_NO_BITS = 8


@dataclass(frozen=True)
class Segment:
    """Bytes of a memory from an address on."""

    address: int
    content: bytes


@dataclass(frozen=True)
class Function:
    """Where a function's code lies."""

    name: str
    address: int
    size_bytes: int


@dataclass(frozen=True)
class Image:
    """A linked program.

    Attributes:
        segments: what is in memory before the program starts.
        functions: by address.
        symbols: addresses of functions and variables, by name.
        text_bytes: code and constants, in flash.
        data_bytes: initial values of variables, in flash and in RAM.
        zeroed_bytes: variables that begin as zero, in RAM.
    """

    segments: tuple[Segment, ...]
    functions: tuple[Function, ...]
    symbols: dict[str, int]
    text_bytes: int = 0
    data_bytes: int = 0
    zeroed_bytes: int = 0

    @cached_property
    def _starts(self) -> list[int]:
        return [function.address for function in self.functions]

    def function_at(self, address: int) -> str:
        """The name of the function whose code is there; "?" where no symbol tells."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return "?"
        found = self.functions[index]
        return found.name if address < found.address + max(found.size_bytes, 2) else "?"

    def code(self, address: int, size_bytes: int) -> bytes:
        """What is in memory there before the program starts."""
        for segment in self.segments:
            begin = address - segment.address
            if 0 <= begin <= len(segment.content) - size_bytes:
                return segment.content[begin : begin + size_bytes]
        raise AssertionError(f"no code at {address:#x}")


def read_image(path: Path) -> Image:
    """The program of an ELF file for Arm (ELF for the Arm Architecture, IHI 0044).

    Raises:
        ArtifactError: not such a file.
    """
    data = path.read_bytes()
    try:
        if data[:6] != _MAGIC or struct.unpack_from("<H", data, 18) != (_ARM,):
            raise ArtifactError(f"{path} is no program for a 32-bit Arm processor")
        return _image(data)
    except (struct.error, IndexError, ValueError) as error:
        raise ArtifactError(f"{path} is a damaged program: {error}") from error


@dataclass(frozen=True)
class _Section:
    """A row of the section table."""

    kind: int
    flags: int
    offset: int
    size: int
    link: int


def _image(data: bytes) -> Image:
    sections = list(_sections(data))
    functions, symbols = _symbols(data, sections)
    allocated = [section for section in sections if section.flags & _ALLOCATED]
    writable = [section for section in allocated if section.flags & _WRITABLE]
    zeroed = sum(section.size for section in writable if section.kind == _NO_BITS)
    data_bytes = sum(section.size for section in writable) - zeroed
    return Image(
        segments=tuple(_segments(data)),
        functions=functions,
        symbols=symbols,
        text_bytes=sum(section.size for section in allocated) - zeroed - data_bytes,
        data_bytes=data_bytes,
        zeroed_bytes=zeroed,
    )


def _segments(data: bytes) -> Iterator[Segment]:
    """At the addresses that they are loaded to: start-up code copies variables to RAM."""
    offset, size, count = _table(data, 28, 42)
    for row in range(count):
        kind, place, _, address, in_file = struct.unpack_from("<5I", data, offset + row * size)
        if kind == _LOAD and in_file:
            yield Segment(address, data[place : place + in_file])


def _sections(data: bytes) -> Iterator[_Section]:
    offset, size, count = _table(data, 32, 46)
    for row in range(count):
        _, kind, flags, _, place, length, link = struct.unpack_from(
            "<7I", data, offset + row * size
        )
        yield _Section(kind, flags, place, length, link)


def _table(data: bytes, offset_at: int, sizes_at: int) -> tuple[int, int, int]:
    """Offset, size of a row, and number of rows of a table that the header names."""
    (offset,) = struct.unpack_from("<I", data, offset_at)
    size, count = struct.unpack_from("<2H", data, sizes_at)
    return offset, size, count


def _symbols(data: bytes, sections: list[_Section]) -> tuple[tuple[Function, ...], dict[str, int]]:
    functions: list[Function] = []
    symbols: dict[str, int] = {}
    for table in (section for section in sections if section.kind == _SYMBOL_TABLE):
        names = sections[table.link].offset
        for place in range(table.offset, table.offset + table.size, 16):
            start, value, size, info = struct.unpack_from("<3IB", data, place)
            kind = info & 15
            name = data[names + start : data.index(b"\0", names + start)].decode("ascii", "replace")
            if not name or name.startswith("$") or kind not in (_FUNCTION, _OBJECT, _UNTYPED):
                continue
            address = value & ~1 if kind == _FUNCTION else value  # bit 0: Thumb code
            symbols[name] = address
            if kind == _FUNCTION:
                functions.append(Function(name, address, size))
    return tuple(sorted(functions, key=lambda function: function.address)), symbols
