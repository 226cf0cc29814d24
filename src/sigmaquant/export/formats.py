"""The formats that an integer program can be exported as, one row each.

Only the functions import a format's runtime, which is an extra; the table itself needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.errors import ConfigError, DeviceError
from sigmaquant.export import (
    export_c,
    export_onnx,
    export_qnn,
    export_qonnx,
    export_tflite,
    export_tflm,
)
from sigmaquant.export.tflite.options import MicroOptions, TfliteOptions
from sigmaquant.layers import container_bits
from sigmaquant.lowering.program import IntegerProgram

if TYPE_CHECKING:
    from sigmaquant.devices import DeviceProfile
    from sigmaquant.export.c.compiler import Compiler
    from sigmaquant.export.verification import Verification

Arrays = Mapping[str, npt.NDArray[Any]]
Runner = Callable[..., tuple[npt.NDArray[Any], ...]]
"""A network in a format's runtime: arrays of a batch in order to its outputs in order."""


class FormatOptions(Frozen):
    """The options of those formats that have some; each reads only its own.

    Files for TensorFlow Lite Micro have the interface that is asked for in ``tflite``.

    Attributes:
        coded: weights of ONNX files are written in a prefix code, see ``export_onnx``.
        tflite: of TensorFlow Lite files.
        weight_scratch_bytes: of C libraries, see ``export_c``.
    """

    coded: bool = False
    tflite: TfliteOptions = TfliteOptions()
    weight_scratch_bytes: pydantic.NonNegativeInt = 0

    @property
    def tflm(self) -> MicroOptions:
        """Options of files for TensorFlow Lite Micro."""
        return MicroOptions(
            interface=self.tflite.interface, channels_last=self.tflite.channels_last
        )


@dataclass(frozen=True)
class Format:
    """How programs become files of one format.

    Attributes:
        file: what a file is called by default.
        runtime: what runs it, for messages.
        needs_data: whether float results get their range from the inputs that it is verified with,
            so that these have to be real data.
        export: writes a file that has been verified on the given inputs.
        check: raises UnsupportedError where ``export`` would, without a file.
        open: loads a file into the format's runtime.
        registers_kernels: whether the user's firmware has to register each kernel by name.
    """

    file: str
    runtime: str
    needs_data: bool
    export: Callable[[IntegerProgram, Path, Arrays, FormatOptions], Verification]
    check: Callable[[IntegerProgram, Arrays, FormatOptions], None]
    open: Callable[[Path], Runner]
    registers_kernels: bool = False


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: there is none; names all there are.
    """
    if name not in FORMATS:
        raise ConfigError(f"unknown export format {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def runtime_of(name: str, options: FormatOptions) -> str | None:
    """The runtime that files of this format are for, among those of ``devices``.

    None where the format binds nobody: an ONNX file or C library of any widths is of use to other
    tools and kernels, so there the device's profile says what widths cost, unless it is told.
    """
    if name == "onnx" and options.coded:
        return "onnxruntime-coded"
    litert = f"litert-{options.tflite.variant}"
    return {"tflite": litert, "tflm": "tflm", "qnn": "qnn"}.get(name)


def check_stored_bits(name: str, profile: DeviceProfile) -> None:
    """Refuse a profile that counts less RAM for activations than files of this format take.

    Raises:
        DeviceError: names the width, and what the profile has to say.
    """
    if name != "c":
        return
    for width, bits in profile.activation_storage.bits.items():
        if bits < container_bits(width):
            raise DeviceError(
                f"{profile.name} counts activations of {width} bits as {bits} bits of RAM, and the "
                f"C library stores each in {container_bits(width)}: put {width} = "
                f"{container_bits(width)} in bits of [activation_storage]"
            )


def export_program(
    name: str, program: IntegerProgram, path: Path, inputs: Arrays, options: FormatOptions
) -> Verification:
    """Write the program in the format of that name; see the format's own function.

    Raises:
        ConfigError: an unknown format.
        UnsupportedError: an operator cannot be expressed.
        VerificationError: the file does not compute what the integer reference computes.
        OutputError: the folder cannot be written.
        MissingExtraError: the format's runtime is not installed.
    """
    return format_named(name).export(program, path, inputs, options)


def _export_onnx(
    program: IntegerProgram, path: Path, inputs: Arrays, options: FormatOptions
) -> Verification:
    return export_onnx(program, path, inputs, coded=options.coded)


def _check_onnx(program: IntegerProgram, _: Arrays, __: FormatOptions) -> None:
    from sigmaquant.export.onnx.model import build_model
    from sigmaquant.export.verify import verify_onnx  # noqa: F401  (needs onnxruntime)

    build_model(program)


def _open_onnx(path: Path) -> Runner:
    from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork

    return OnnxRuntimeNetwork(path)


def _export_qonnx(
    program: IntegerProgram, path: Path, inputs: Arrays, _: FormatOptions
) -> Verification:
    return export_qonnx(program, path, inputs)


def _check_qonnx(program: IntegerProgram, _: Arrays, __: FormatOptions) -> None:
    from sigmaquant.export.qonnx.model import build_model
    from sigmaquant.export.qonnx.verify import verify_qonnx  # noqa: F401  (needs onnxruntime)

    build_model(program)


def _open_qonnx(path: Path) -> Runner:
    from sigmaquant.export.qonnx.simulation import open_qonnx

    return open_qonnx(path)


def _export_qnn(
    program: IntegerProgram, path: Path, inputs: Arrays, _: FormatOptions
) -> Verification:
    return export_qnn(program, path, inputs)


def _check_qnn(program: IntegerProgram, inputs: Arrays, _: FormatOptions) -> None:
    from sigmaquant.export.heads import with_integer_heads
    from sigmaquant.export.qnn.model import build_model
    from sigmaquant.export.qnn.verify import verify_qnn  # noqa: F401  (needs onnxruntime)

    build_model(with_integer_heads(program, inputs))


def _open_qnn(path: Path) -> Runner:
    from sigmaquant.export.qnn.simulation import open_qnn

    return open_qnn(path)


def _export_tflite(
    program: IntegerProgram, path: Path, inputs: Arrays, options: FormatOptions
) -> Verification:
    return export_tflite(program, path, inputs, options.tflite)


def _check_tflite(program: IntegerProgram, inputs: Arrays, options: FormatOptions) -> None:
    from sigmaquant.export.heads import with_integer_heads
    from sigmaquant.export.tflite.model import build_model
    from sigmaquant.export.tflite.verify import verify_tflite  # noqa: F401  (needs LiteRT)

    build_model(with_integer_heads(program, inputs), options.tflite)


def _open_tflite(path: Path) -> Runner:
    from sigmaquant.export.tflite.runtime import LiteRtNetwork

    return LiteRtNetwork(path)


def _export_tflm(
    program: IntegerProgram, path: Path, inputs: Arrays, options: FormatOptions
) -> Verification:
    return export_tflm(program, path, inputs, options.tflm)


def _check_tflm(program: IntegerProgram, inputs: Arrays, options: FormatOptions) -> None:
    from sigmaquant.export.heads import with_integer_heads
    from sigmaquant.export.tflite.model import build_model
    from sigmaquant.export.tflite.verify_micro import verify_tflm  # noqa: F401  (needs the extra)

    build_model(with_integer_heads(program, inputs), options.tflm)


def _open_tflm(path: Path) -> Runner:
    from sigmaquant.export.tflite.micro import MicroNetwork

    return MicroNetwork(path)


def _export_c(
    program: IntegerProgram, path: Path, inputs: Arrays, options: FormatOptions
) -> Verification:
    return export_c(program, path, inputs, options.weight_scratch_bytes)


def _check_c(program: IntegerProgram, _: Arrays, __: FormatOptions) -> None:
    from sigmaquant.export.c.model import build_model

    _c_compiler()
    build_model(program)


def _open_c(path: Path) -> Runner:
    from sigmaquant.export.c.runtime import CNetwork

    return CNetwork(path, _c_compiler())


def _c_compiler() -> Compiler:
    """The compiler that a run needs to measure what it exports."""
    from sigmaquant.export.c.compiler import NONE_FOUND, find_compiler

    compiler = find_compiler()
    if compiler is None:
        raise ConfigError(
            f"{NONE_FOUND}: a run needs one to measure the library; sigmaquant export needs none"
        )
    return compiler


FORMATS: dict[str, Format] = {
    "onnx": Format("model.onnx", "ONNX Runtime", False, _export_onnx, _check_onnx, _open_onnx),
    "qnn": Format(
        "model_qnn", "a simulation in ONNX Runtime", True, _export_qnn, _check_qnn, _open_qnn
    ),
    "qonnx": Format(
        "model.qonnx.onnx",
        "a simulation in ONNX Runtime",
        False,
        _export_qonnx,
        _check_qonnx,
        _open_qonnx,
    ),
    "c": Format("model_c", "C on this machine", False, _export_c, _check_c, _open_c),
    "tflite": Format("model.tflite", "LiteRT", True, _export_tflite, _check_tflite, _open_tflite),
    "tflm": Format(
        "model.tflite",
        "TensorFlow Lite Micro",
        True,
        _export_tflm,
        _check_tflm,
        _open_tflm,
        registers_kernels=True,
    ),
}
