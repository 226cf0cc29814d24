"""Proves that exported files say what the integer reference computes.

The files are read back and simulated in ONNX Runtime; the HTP itself, whose fixed-point rounding
may differ from this by a step, is not there to be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sigmaquant.export.qnn.model import Model
from sigmaquant.export.qnn.simulation import (
    parameter_integers,
    quantized_input,
    simulated,
    unrounded,
)
from sigmaquant.export.qonnx.comparison import (
    Simulated,
    compare,
    compare_parameters,
    operator_counts,
)
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import IntegerProgram


def verify_qnn(
    folder: str | Path,
    model: Model,
    program: IntegerProgram,
    inputs: Mapping[str, npt.NDArray[Any]],
) -> Verification:
    """Simulate the files and run the reference on the same inputs, and compare.

    Args:
        folder: what ``write_files`` wrote.
        model: what was written.
        program: what the model was built from, with integer heads.
        inputs: (batch, *shape) float32 for each input of the program.

    Raises:
        VerificationError: an integer is not what the record holds, an operator computes something
            else, or the two encodings files differ.
        ArtifactError: a file is missing or damaged.
        DataError: ``inputs`` do not fit the program.
    """
    path = Path(folder)
    compare_parameters(parameter_integers(path), program)
    tensors = {name: _simulated_tensor(name, model, program) for name in program.values}
    file_bytes = sum(file.stat().st_size for file in path.iterdir())
    kernels = operator_counts(model.onnx)
    return compare(Simulated(simulated(path), tensors, kernels, file_bytes), program, inputs)


def _simulated_tensor(name: str, model: Model, program: IntegerProgram) -> str:
    tensor = model.tensors[name]
    if name in model.unrounded:
        return unrounded(tensor)
    if tensor in program.inputs and name not in program.inputs:
        return quantized_input(tensor)
    return tensor
