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
    from sigmaquant.export.tflite.options import MicroOptions, TfliteOptions
    from sigmaquant.export.verification import Verification

__all__ = ["export_c", "export_onnx", "export_qnn", "export_qonnx", "export_tflite", "export_tflm"]


def export_onnx(
    program: IntegerProgram,
    path: str | Path,
    verify_inputs: Mapping[str, npt.NDArray[Any]],
    *,
    coded: bool = False,
) -> Verification:
    """Write the program as an ONNX file whose results in ONNX Runtime have been verified.

    Args:
        program: what to export.
        path: the file; it appears only after it has passed.
        verify_inputs: (batch, *shape) float32 for each input of the program; real data is best.
        coded: write weights in a prefix code, a tenth smaller than their widths (a quarter where
            they were rounded for it, see ``quantize``), and scales and biases in 16 bits. The file
            computes what the program does with its scales and biases rounded to these (see
            ``export.half_precision``).

    Raises:
        UnsupportedError: an operator cannot be expressed.
        VerificationError: the file does not compute what the integer reference computes.
        OutputError: the folder cannot be written.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from sigmaquant.export.half_precision import with_half_precision
    from sigmaquant.export.onnx.model import write_onnx
    from sigmaquant.export.verify import verify_onnx

    settled = with_half_precision(program) if coded else program
    with written_atomically(path) as temporary:
        write_onnx(settled, temporary, coded=coded)
        return verify_onnx(temporary, settled, verify_inputs)


def export_qonnx(
    program: IntegerProgram, path: str | Path, verify_inputs: Mapping[str, npt.NDArray[Any]]
) -> Verification:
    """Write the program as a QONNX file whose integers have been read back and simulated.

    Args:
        program: what to export.
        path: the file; it appears only after it has passed.
        verify_inputs: (batch, *shape) float32 for each input of the program; real data is best.

    Raises:
        UnsupportedError: an operator cannot be expressed.
        VerificationError: the file does not hold the record's integers, or does not compute what
            they compute.
        OutputError: the folder cannot be written.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from sigmaquant.export.qonnx.model import write_qonnx
    from sigmaquant.export.qonnx.verify import verify_qonnx

    with written_atomically(path) as temporary:
        write_qonnx(program, temporary)
        return verify_qonnx(temporary, program, verify_inputs)


def export_qnn(
    program: IntegerProgram, path: str | Path, verify_inputs: Mapping[str, npt.NDArray[Any]]
) -> Verification:
    """Write a float ONNX file and encodings for Qualcomm's converter, verified by simulation.

    Args:
        program: what to export.
        path: the folder; it appears only after it has passed. An earlier export is replaced.
        verify_inputs: (batch, *shape) float32 for each input of the program. Their results also
            give the range of layers with float results, so they have to be real data.

    Raises:
        UnsupportedError: an operator cannot be expressed, or a width is none that the HTP runs.
        VerificationError: the files do not say what the integer reference computes.
        OutputError: the folder cannot be written, or holds other files.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from sigmaquant.export.heads import with_integer_heads
    from sigmaquant.export.qnn.folder import new_folder, write_files
    from sigmaquant.export.qnn.model import build_model
    from sigmaquant.export.qnn.verify import verify_qnn

    settled = with_integer_heads(program, verify_inputs)
    model = build_model(settled)
    with new_folder(path) as folder:
        write_files(model, folder)
        return verify_qnn(folder, model, settled, verify_inputs)


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
            give the range of layers with float results (see ``export.heads``), so they
            have to be real data.
        options: what the file shall look like.

    Raises:
        UnsupportedError: an operator cannot be expressed; nothing is written then.
        VerificationError: the file does not compute what the integer reference computes.
        OutputError: the folder cannot be written.
        MissingExtraError: ai-edge-litert is not installed.
    """
    from sigmaquant.export.heads import with_integer_heads
    from sigmaquant.export.tflite.model import build_model, write_tflite
    from sigmaquant.export.tflite.verify import verify_tflite

    settled = with_integer_heads(program, verify_inputs)
    model = build_model(settled, options)
    with written_atomically(path) as temporary:
        write_tflite(model, temporary)
        return verify_tflite(temporary, model, settled, verify_inputs)


def export_tflm(
    program: IntegerProgram,
    path: str | Path,
    verify_inputs: Mapping[str, npt.NDArray[Any]],
    options: MicroOptions | None = None,
) -> Verification:
    """Write the program as a file for TensorFlow Lite Micro, verified in its interpreter.

    Args:
        program: what to export.
        path: the file; it appears only after it has passed.
        verify_inputs: as for ``export_tflite``.
        options: what the file shall look like.

    Raises:
        UnsupportedError: an operator cannot be expressed; nothing is written then.
        VerificationError: the file does not compute what the integer reference computes, or the
            runtime refuses it.
        OutputError: the folder cannot be written.
        MissingExtraError: tflite-micro or ai-edge-litert is not installed.
    """
    from sigmaquant.export.heads import with_integer_heads
    from sigmaquant.export.tflite.micro import micro_content
    from sigmaquant.export.tflite.model import build_model
    from sigmaquant.export.tflite.options import MicroOptions
    from sigmaquant.export.tflite.verify_micro import verify_tflm

    settled = with_integer_heads(program, verify_inputs)
    model = build_model(settled, options or MicroOptions())
    with written_atomically(path) as temporary:
        temporary.write_bytes(micro_content(model))
        return verify_tflm(temporary, model, settled, verify_inputs)


def export_c(
    program: IntegerProgram,
    path: str | Path,
    verify_inputs: Mapping[str, npt.NDArray[Any]],
    weight_scratch_bytes: int = 0,
) -> Verification:
    """Write the program as a C99 library whose results on this machine have been verified.

    Where there is no C compiler the folder is written unverified, and the result says so.

    Args:
        program: what to export.
        path: the folder; it appears only after it has passed. An earlier export is replaced.
        verify_inputs: (batch, *shape) float32 for each input of the program; real data is best.
        weight_scratch_bytes: RAM that one layer's weights may be unpacked to, where that is faster;
            of a device it is ``reserve.weight_scratch_bytes``.

    Raises:
        UnsupportedError: an operator that no kernel computes exactly.
        VerificationError: the library does not compute what the integer reference computes.
        OutputError: the folder cannot be written, or holds other files.
        DataError: ``verify_inputs`` do not fit the program.
    """
    from sigmaquant.export.c.compiler import find_compiler
    from sigmaquant.export.c.folder import new_folder, write_files
    from sigmaquant.export.c.model import build_model
    from sigmaquant.export.c.verify import unverified, verify_c
    from sigmaquant.lowering.reference import checked_inputs, run_reference

    model = build_model(program, weight_scratch_bytes)
    inputs = checked_inputs(program, verify_inputs)
    with new_folder(path) as folder:
        write_files(model, folder, inputs, run_reference(program, inputs))
        compiler = find_compiler()
        if compiler is None:
            return unverified(model)
        return verify_c(folder, model, program, inputs, compiler)
