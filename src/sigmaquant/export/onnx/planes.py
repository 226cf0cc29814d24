"""Signed integers of b bits as b bit planes: eight weights in b bytes.

Plane k holds bit k of ``value + 2^(b-1)`` for all values, eight to a byte, the first in the lowest
bit. Unlike a packing of whole values, this has the same simple unpacking for every width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import Int8Array, UInt8Array


def pack_planes(values: Int8Array, bits: int) -> UInt8Array:
    """Any shape of integers in -2^(bits-1) .. 2^(bits-1)-1 to (bits, ceil(size/8)) bytes.

    >>> pack_planes(np.array([-2, -1, 0, 1], np.int8), 2)
    array([[10],
           [12]], dtype=uint8)
    """
    offset = 1 << (bits - 1)
    shifted = values.reshape(-1).astype(np.int16) + offset
    in_range = not shifted.size or (shifted.min() >= 0 and shifted.max() < 2 * offset)
    assert in_range, f"values beyond {bits} bits"
    return bit_planes(shifted, bits)


def bit_planes(values: npt.NDArray[np.integer[Any]], bits: int) -> UInt8Array:
    """A vector of integers in 0 .. 2^bits-1 to (bits, ceil(size/8)) bytes.

    >>> bit_planes(np.array([0, 1, 2, 3]), 2)
    array([[10],
           [12]], dtype=uint8)
    """
    return np.stack([np.packbits(values >> bit & 1, bitorder="little") for bit in range(bits)])


def unpack_planes(planes: UInt8Array, count: int) -> Int8Array:
    """The first ``count`` integers of (bits, bytes) planes.

    >>> unpack_planes(np.array([[10], [12]], np.uint8), 4)
    array([-2, -1,  0,  1], dtype=int8)
    """
    bits = planes.shape[0]
    unpacked = np.unpackbits(planes, axis=1, count=count, bitorder="little")
    weights = 1 << np.arange(bits, dtype=np.int16)
    values: Int8Array = (weights @ unpacked.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)
    return values
