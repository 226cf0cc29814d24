"""Random networks and plans in every format: the reference within the tolerance of each kernel, or
a typed refusal that says why; no third outcome.

The C library has its own such test, which compiles all networks at once (``test_c_programs``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("tflite_micro")

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.formats import FORMATS, FormatOptions
from sigmaquant.export.tflite.options import TfliteOptions
from sigmaquant.export.verification import Verification
from sigmaquant.lowering import IntegerProgram, lower
from sigmaquant.lowering.program import Convolution, Linear
from sigmaquant.network import capture
from sigmaquant.quantized import quantize
from tests.random_networks import random_network, random_plan

CAPTURED, PROGRAMS = 50, 150
VERIFIED = 3  # samples
NEVER = r"(?!)"
REFUSALS = {
    "onnx": NEVER,
    "qonnx": NEVER,
    "tflite": r"no form for the float operator aten\.pad",
    "tflm": r"no form for the float operator aten\.pad",
    "qnn": r"the HTP (stores 4 or 8|runs 8 or 16)|a table of 'random' that no operator",
}
"""What each format may refuse."""
OPTIONS = (
    FormatOptions(),
    FormatOptions(tflite=TfliteOptions(variant="fast", interface="int8")),
    FormatOptions(tflite=TfliteOptions(interface="uint8", channels_last=True)),
)

Arrays = Mapping[str, np.ndarray]


@pytest.mark.parametrize("seed", range(CAPTURED))
def test_captured_networks(seed: int, tmp_path: Path) -> None:
    model, inputs = random_network(seed)
    network = capture(model, inputs[:2])
    plan = random_plan(seed, network.table)
    program = lower(quantize(network, plan, [inputs], rounding="nearest"))
    (name,) = program.inputs
    check_all(program, {name: inputs[:VERIFIED].numpy()}, seed, tmp_path)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_integer_programs(
    random_case: Callable[..., tuple[IntegerProgram, Arrays]], seed: int, tmp_path: Path
) -> None:
    program, inputs = random_case(seed)
    check_all(program, inputs, seed, tmp_path)


def check_all(program: IntegerProgram, inputs: Arrays, seed: int, folder: Path) -> None:
    """Every second network has weights of 4 and 8 bits, as Qualcomm's processors take them."""
    chosen = widened(program) if seed % 2 else program
    exported = {
        name: is_exported(name, chosen, inputs, OPTIONS[seed % len(OPTIONS)], folder / name)
        for name in REFUSALS
    }
    assert exported["onnx"]
    assert exported["qonnx"]
    assert exported["tflite"] == exported["tflm"]


def is_exported(
    name: str, program: IntegerProgram, inputs: Arrays, options: FormatOptions, folder: Path
) -> bool:
    """Whether there is a file; it has passed. A difference or any other error ends the test."""
    folder.mkdir()
    path = folder / FORMATS[name].file
    outcome = exported_or_refused(name, program, path, inputs, options)
    if isinstance(outcome, UnsupportedError):
        assert re.search(REFUSALS[name], str(outcome)), outcome
        assert list(folder.iterdir()) == []
        return False
    assert outcome.verified
    assert outcome.samples == len(next(iter(inputs.values())))
    assert outcome.differing == 0 or not outcome.exact
    assert max(outcome.largest_steps.values(), default=0) <= 1
    files = [path] if path.is_file() else path.iterdir()
    assert outcome.file_bytes == sum(file.stat().st_size for file in files)
    return True


def exported_or_refused(
    name: str, program: IntegerProgram, path: Path, inputs: Arrays, options: FormatOptions
) -> Verification | UnsupportedError:
    try:
        return FORMATS[name].export(program, path, inputs, options)
    except UnsupportedError as refusal:
        return refusal


def widened(program: IntegerProgram) -> IntegerProgram:
    """The same integers in 4 and 8 bits."""
    return replace(
        program,
        operators=tuple(
            replace(operator, weights=replace(operator.weights, bits=wider(operator.weights.bits)))
            if isinstance(operator, Convolution | Linear)
            else operator
            for operator in program.operators
        ),
    )


def wider(bits: int) -> int:
    return 4 if bits <= 4 else 8
