"""Integers of 8, 4 and 2 bits in bytes, the first in the lowest bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import Int8Array


def pack_integers(values: Int8Array, bits: int) -> bytes:
    """The values in row-major order in two's complement; the last byte is filled up with zeros.

    Args:
        values: integers in -2^(bits-1) .. 2^(bits-1)-1, of any shape.
        bits: 8, 4 or 2.

    >>> pack_integers(np.array([1, -1, 7], np.int8), 4).hex()
    'f107'
    """
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    per_byte = 8 // bits
    digits = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    digits[: flat.size] = flat & np.uint8(2**bits - 1)
    shifts = (np.arange(per_byte) * bits).astype(np.uint8)
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(
        digits.reshape(-1, per_byte) << shifts, axis=1
    )
    return packed.tobytes()
