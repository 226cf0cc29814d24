"""Numbers, tables and names as C text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_WIDTH = 96
_TYPES = {
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.uint32): "uint32_t",
    np.dtype(np.int32): "int32_t",
    np.dtype(np.float32): "float",
}


def table(name: str, array: npt.NDArray[Any]) -> str:
    """A constant vector with its values.

    >>> print(table("bias", np.array([1, -2], np.int32)))
    static const int32_t bias[2] = {
        1, -2
    };
    """
    numbers = (
        ", ".join(_number(item) for item in array.tolist())
        if array.dtype != np.float32
        else (", ".join(float32(item) for item in array.tolist()))
    )
    body = textwrap.fill(numbers, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"static const {_TYPES[array.dtype]} {name}[{array.size}] = {{\n{body}\n}};"


def _number(value: int) -> str:
    if value == -(2**31):
        return "INT32_MIN"
    return f"{value}u" if value >= 2**31 else str(value)


def float32(value: float) -> str:
    """A float32 number, exactly.

    >>> float32(0.5), float32(3.0), float32(1e-8)
    ('0.5f', '3.0f', '9.99999994e-09f')
    """
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


def record(fields: Mapping[str, str | int]) -> str:
    """An initialiser by field names.

    >>> record({"rows": 3, "words": "weights0"})
    '{.rows = 3, .words = weights0}'
    """
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "}"


def vector(numbers: Iterable[int]) -> str:
    """An initialiser by position.

    >>> vector((1, 2))
    '{1, 2}'
    """
    return "{" + ", ".join(map(str, numbers)) + "}"


def identifier(text: str) -> str:
    """Text with everything but letters and digits as underscores.

    >>> identifier("head/float.0")
    'head_float_0'
    """
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def comment(text: str) -> str:
    """A one-line comment that the text cannot end.

    >>> comment("a */ b")
    '/* a * / b */'
    """
    plain = text.encode("ascii", "replace").decode().replace("*/", "* /").replace("\\", "/")
    return f"/* {' '.join(plain.split())} */"
