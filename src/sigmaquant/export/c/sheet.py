"""What the writers of calls share: the model's text so far, and where each buffer is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from sigmaquant.export.c import literals
from sigmaquant.export.c.schedule import Tensor
from sigmaquant.export.c.values import BYTE_BITS


@dataclass
class Sheet:
    """What the writers write on.

    Attributes:
        places: C expression of each buffer's address.
        weight_scratch_bytes: scratch memory that a layer's weights may be unpacked to.
        definitions: tables and records, in order.
        statements: of the function that runs the network.
        kernels: how often each kernel is called.
        sources: the kernels' files that are needed, by name.
        widths: (template, bits) of the kernels that are made for one width.
        table_bytes: size of all tables.
        scratch_bytes: largest scratch memory that a call needs.
    """

    places: Mapping[str, str]
    weight_scratch_bytes: int = 0
    definitions: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    kernels: Counter[str] = field(default_factory=Counter)
    sources: set[str] = field(default_factory=set)
    widths: set[tuple[str, int]] = field(default_factory=set)
    table_bytes: int = 0
    scratch_bytes: int = 0
    _names: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def table(self, kind: str, array: npt.NDArray[Any]) -> str:
        """The name of a constant vector; equal ones of one kind are stored once."""
        key = kind, array.dtype.str.encode() + array.tobytes()
        if key not in self._names:
            self._names[key] = f"{kind}_{len(self._names)}"
            self.definitions.append(literals.table(self._names[key], array))
            self.table_bytes += array.nbytes
        return self._names[key]

    def record(self, kind: str, fields: Mapping[str, str | int]) -> str:
        """The address of a constant record of that C type."""
        text = literals.record(fields)
        key = kind, text.encode()
        if key not in self._names:
            name = self._names[key] = f"{kind.removeprefix('sq_')}_{len(self._names)}"
            self.definitions.append(f"static const {kind} {name} = {text};")
        return f"&{self._names[key]}"

    def for_width(self, kind: str, bits: int) -> str:
        """The name of a kernel that is made for one width: ``dot``, ``dot_one`` or ``widen``."""
        self.widths.add((kind, bits))
        return f"sq_{kind}_w{bits}"

    def call(self, kernel: str, *arguments: str | int) -> None:
        """Call a kernel, whose file has its name."""
        self.sources.add(kernel)
        self.kernels[kernel] += 1
        self.statements.append(f"{kernel}({', '.join(map(str, arguments))});")

    def needs(self, *sources: str) -> None:
        """The kernels call functions of these files."""
        self.sources.update(sources)

    def scratch(self, size_bytes: int) -> str:
        """The scratch memory, which has at least that size."""
        self.scratch_bytes = max(self.scratch_bytes, size_bytes)
        return "scratch"

    def place(self, tensor: Tensor, offset: int = 0) -> str:
        """The address of a tensor's element, which begins a byte."""
        assert not offset or tensor.bits == BYTE_BITS, tensor.buffer
        address = self.places[tensor.buffer]
        return f"{address} + {offset}" if offset else address
