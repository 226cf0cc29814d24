"""Writes an integer program as a file that a runtime runs, and proves that it does.

A format that a runtime loads is not yet a format that it runs as meant: it may fall back to
float, saturate, or round elsewhere. So every export ends with a comparison against the integer
reference, and a file that has not passed never appears under the name that was asked for.

The runtimes are extras; nothing here imports them before they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from sigmaquant.artifact import written_atomically
from sigmaquant.lowering.program import IntegerProgram

if TYPE_CHECKING:
    from sigmaquant.export.tflite.options import TfliteOptions
    from sigmaquant.export.verification import Verification

__all__ = ["export_c", "export_onnx", "export_tflite"]


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


def export_tflite(
    program: IntegerProgram,
    path: str | Path,
    verify_inputs: Mapping[str, npt.NDArray[Any]],
    options: TfliteOptions | None = None,
) -> Verification:
    """Write the program as a TensorFlow Lite file whose results in LiteRT have been verified.

    Args:
        program: what to export.
        path: the file; it appears only after it has passed.
        verify_inputs: (batch, *shape) float32 for each input of the program. Their results also
            give the range of layers with float results (see ``export.tflite.settle``), so they
            have to be real data.
        options: what the file shall look like.

    Raises:
        UnsupportedError: an operator cannot be expressed; nothing is written then.
        VerificationError: the file does not compute what the integer reference computes.
        OutputError: the folder cannot be written.
        MissingExtraError: ai-edge-litert is not installed.
    """
    from sigmaquant.export.tflite.model import build_model, write_tflite
    from sigmaquant.export.tflite.settle import settle
    from sigmaquant.export.tflite.verify import verify_tflite

    settled = settle(program, verify_inputs)
    model = build_model(settled, options)
    with written_atomically(path) as temporary:
        write_tflite(model, temporary)
        return verify_tflite(temporary, model, settled, verify_inputs)


def export_c(
    program: IntegerProgram, path: str | Path, verify_inputs: Mapping[str, npt.NDArray[Any]]
) -> Verification:
    """Write the program as a C99 library whose results on this machine have been verified.

    Where there is no C compiler the folder is written unverified, and the result says so.

    Args:
        program: what to export.
        path: the folder; it appears only after it has passed. An earlier export is replaced.
        verify_inputs: (batch, *shape) float32 for each input of the program; real data is best.

    Raises:
        UnsupportedError: an operator that no kernel computes exactly.
        VerificationError: the library does not compute what the integer reference computes.
        OutputError: the folder cannot be written, or holds other files.
        DataError: ``verify_inputs`` do not fit the program.
    """
    from sigmaquant.export.c.compiler import find_compiler
    from sigmaquant.export.c.folder import folder_written_atomically, write_files
    from sigmaquant.export.c.model import build_model
    from sigmaquant.export.c.verify import unverified, verify_c
    from sigmaquant.lowering.reference import checked_inputs, run_reference

    model = build_model(program)
    inputs = checked_inputs(program, verify_inputs)
    with folder_written_atomically(path) as folder:
        write_files(model, folder, inputs, run_reference(program, inputs))
        compiler = find_compiler()
        if compiler is None:
            return unverified(model)
        return verify_c(folder, model, program, inputs, compiler)
