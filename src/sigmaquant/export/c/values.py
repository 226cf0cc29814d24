"""The values of a tensor from its memory, as ``kernels/sq_values.h`` packs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.export.c.layout import positions
from sigmaquant.export.c.schedule import Tensor
from sigmaquant.lowering.program import UInt8Array

BYTE_BITS = 8


def unpack_values(memory: UInt8Array, bits: int) -> UInt8Array:
    """(..., bytes) of packed values of 2, 4 or 8 bits to (..., 8 // bits * bytes) values.

    >>> unpack_values(np.array([0x21, 0x43], np.uint8), 4).tolist()
    [1, 2, 3, 4]
    """
    shifts = np.arange(0, BYTE_BITS, bits, dtype=np.uint8)
    values = memory[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return values.reshape(*memory.shape[:-1], -1)


def stored_values(memory: UInt8Array, tensor: Tensor) -> npt.NDArray[Any]:
    """The tensor's values in the record's order, uint8 or float32: (samples, elements).

    Args:
        memory: (samples, bytes of the tensor).
        tensor: what is stored there.
    """
    plain = np.ascontiguousarray(memory)
    if tensor.value.encoding is None:
        return plain.view(np.float32)[:, positions(tensor.layout)]
    return unpack_values(plain, tensor.bits)[:, positions(tensor.layout)]
