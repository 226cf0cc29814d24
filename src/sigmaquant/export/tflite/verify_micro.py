"""Proves that a file for TensorFlow Lite Micro computes what the integer reference computes.

Its reference kernels multiply by fixed-point numbers and round twice, as LiteRT's built-in ones do;
so each operator is checked on the runtime's own inputs, to one step. Microcontrollers run kernels
optimized for them, such as CMSIS-NN, which are made to give the same results.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, DataError, VerificationError
from sigmaquant.export.tflite.flatfile import operator_counts
from sigmaquant.export.tflite.inside import Inside, differences
from sigmaquant.export.tflite.micro import VERSION, MicroNetwork
from sigmaquant.export.tflite.model import Model
from sigmaquant.export.tflite.tolerances import tolerance_steps
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import IntegerProgram, Operator
from sigmaquant.lowering.reference import checked_inputs, run_reference


def verify_tflm(
    path: str | Path, model: Model, program: IntegerProgram, inputs: Mapping[str, npt.NDArray[Any]]
) -> Verification:
    """Run the file in TensorFlow Lite Micro and the reference on the same inputs, and compare.

    Args:
        path: the file.
        model: what it was written from.
        program: what the model was built from, settled.
        inputs: (batch, *shape) float32 for each input of the program.

    Returns:
        The verification; its kernels are those that the firmware has to register.

    Raises:
        VerificationError: the file computes something else, or the runtime refuses it.
        DataError: ``inputs`` do not fit the program.
    """
    arrays, file = checked_inputs(program, inputs), Path(path)
    expected = run_reference(program, arrays)
    try:
        network = MicroNetwork(file)
        network.watch(place.tensor for place in model.places.values())
        actual = network.run(arrays)
    except (ArtifactError, DataError) as error:
        raise VerificationError(f"the exported file cannot be used: {error}") from error
    steps = Inside(network, model, program, _steps, VERSION).compare_operators(arrays)
    found = [differences(actual[name], expected[name]) for name in program.outputs]
    return Verification(
        runtime=VERSION,
        samples=len(next(iter(arrays.values()))),
        values=sum(difference.size for difference in found),
        differing=sum(int(np.count_nonzero(difference)) for difference in found),
        largest_difference=max(float(difference.max()) for difference in found),
        exact=False,
        kernels=operator_counts(file.read_bytes()),
        file_bytes=file.stat().st_size,
        ram_bytes=network.arena_bytes(),
        largest_steps=steps,
    )


def _steps(operator: Operator) -> int:
    return tolerance_steps(operator, "built-in", "micro")
