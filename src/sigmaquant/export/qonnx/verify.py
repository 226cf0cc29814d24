"""Proves that a QONNX file holds the integers of the record and computes what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.export.onnx.graph import Model, initializers, load_model
from sigmaquant.export.qonnx.comparison import (
    Simulated,
    compare,
    compare_parameters,
    operator_counts,
)
from sigmaquant.export.qonnx.sheet import real_tensors
from sigmaquant.export.qonnx.simulation import quants, spelled_out
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import IntegerProgram

Array = npt.NDArray[Any]


def verify_qonnx(
    path: str | Path, program: IntegerProgram, inputs: Mapping[str, Array]
) -> Verification:
    """Read the integers back, run the file and the reference on the same inputs, and compare.

    Args:
        path: the file that ``write_qonnx`` wrote.
        program: what it was written from.
        inputs: (batch, *shape) float32 for each input of the program.

    Raises:
        VerificationError: an integer is not what the record holds, or an operator computes
            something else; names the layer or operator.
        ArtifactError: the runtime cannot load the file.
        DataError: ``inputs`` do not fit the program.
    """
    file = Path(path)
    model = load_model(file)
    compare_parameters(parameter_integers(model), program)
    simulated = Simulated(
        spelled_out(model), real_tensors(program), operator_counts(model), file.stat().st_size
    )
    return compare(simulated, program, inputs)


def parameter_integers(model: Model) -> dict[str, npt.NDArray[np.int64]]:
    """The integers that quantized constants of a QONNX model stand for, by the constants' names."""
    constants = initializers(model)
    return {
        quant.input[0]: grid.integers(constants[quant.input[0]])
        for quant, grid in quants(model)
        if quant.input[0] in constants
    }
