"""Writes an integer program as a file that a runtime runs, and proves that it does.

A format that a runtime loads is not yet a format that it runs as meant: it may fall back to
float, saturate, or round elsewhere. So every export ends with a comparison against the integer
reference, and a file that has not passed never appears under the name that was asked for.

onnx and onnxruntime are an extra; nothing here imports them before they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from sigmaquant.artifact import written_atomically
from sigmaquant.lowering.program import IntegerProgram

if TYPE_CHECKING:
    from sigmaquant.export.verify import Verification

__all__ = ["export_onnx"]


def export_onnx(
    program: IntegerProgram, path: str | Path, verify_inputs: Mapping[str, npt.NDArray[Any]]
) -> Verification:
    """Write the program as an ONNX file whose results in ONNX Runtime have been verified.

    Args:
        program: what to export.
        path: the file; it appears only after it has passed.
        verify_inputs: (batch, *shape) float32 for each input of the program; real data is best.

    Raises:
        UnsupportedError: an operator cannot be expressed.
        VerificationError: the file does not compute what the integer reference computes.
        OutputError: the folder cannot be written.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from sigmaquant.export.onnx.model import write_onnx
    from sigmaquant.export.verify import verify_onnx

    with written_atomically(path) as temporary:
        write_onnx(program, temporary)
        return verify_onnx(temporary, program, verify_inputs)
