"""Proves that an exported TensorFlow Lite file computes what the integer reference computes.

LiteRT has two sets of kernels, and a phone may use either; the file is run with both. Their
rounding differs from the reference's by a step here and there (see ``tolerances``), and such a
step spreads. So each operator is checked on the runtime's own inputs, with all values exposed as
outputs, and the file as it is then has to give the very same outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, DataError, VerificationError
from sigmaquant.export.tflite.inside import Inside, differences
from sigmaquant.export.tflite.model import Model
from sigmaquant.export.tflite.runtime import KERNELS, VERSION, Kernels, LiteRtNetwork
from sigmaquant.export.tflite.tolerances import tolerance_steps
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import IntegerProgram, Operator
from sigmaquant.lowering.reference import checked_inputs, run_reference

_FAILED_NODE = re.compile(r"Node number (\d+) ")

Array = npt.NDArray[Any]


def verify_tflite(
    path: str | Path, model: Model, program: IntegerProgram, inputs: Mapping[str, Array]
) -> Verification:
    """Run the file and the reference on the same inputs and compare, with both sets of kernels.

    Args:
        path: the file that ``write_tflite`` wrote.
        model: what was written.
        program: what the model was built from, settled.
        inputs: (batch, *shape) float32 for each input of the program.

    Raises:
        VerificationError: the file computes something else, holds NaN or is refused by a kernel;
            names the first operator that differs.
        DataError: ``inputs`` do not fit the program.
    """
    arrays, file = checked_inputs(program, inputs), Path(path)
    expected, exposed = run_reference(program, arrays), model.content(exposed=True)
    found: list[npt.NDArray[np.float64]] = []
    largest_steps: dict[str, int] = {}
    operators: dict[str, int] = {}
    for kernels in KERNELS:
        network = _loaded(file, model, kernels)
        actual = _run(network, arrays, model)
        network_inside = _loaded(exposed, model, kernels)
        _refuse_changes(actual, _run(network_inside, arrays, model), kernels)
        steps = _inside(network_inside, model, program, kernels).compare_operators(arrays)
        largest_steps |= {f"{kernels} {kind}": most for kind, most in steps.items()}
        found += [differences(actual[name], expected[name]) for name in program.outputs]
        operators = operators or network.operators
    return Verification(
        runtime=f"{VERSION}, {' and '.join(KERNELS)} kernels",
        samples=len(next(iter(arrays.values()))),
        values=sum(difference.size for difference in found),
        differing=sum(int(np.count_nonzero(difference)) for difference in found),
        largest_difference=max(float(difference.max()) for difference in found),
        exact=False,
        kernels=operators,
        file_bytes=file.stat().st_size,
        largest_steps=largest_steps,
    )


def _inside(
    network: LiteRtNetwork, model: Model, program: IntegerProgram, kernels: Kernels
) -> Inside:
    def steps(operator: Operator) -> int:
        return tolerance_steps(operator, kernels, model.options.variant)

    return Inside(network, model, program, steps, f"{VERSION}, {kernels} kernels")


def _loaded(file: Path | bytes, model: Model, kernels: Kernels) -> LiteRtNetwork:
    try:
        return LiteRtNetwork(file, kernels=kernels)
    except ArtifactError as error:
        raise _refusal(error, model) from error


def _run(network: LiteRtNetwork, arrays: Mapping[str, Array], model: Model) -> dict[str, Array]:
    try:
        return network.run(arrays)
    except DataError as error:
        raise _refusal(error, model) from error


def _refusal(error: Exception, model: Model) -> VerificationError:
    """With the name of what the node computes, which the runtime only knows by number."""
    node = _FAILED_NODE.search(str(error))
    number = int(node[1]) if node else -1
    name = model.graph.result_of(number).name if 0 <= number < model.graph.size else ""
    where = f"{name}: " if name else ""
    return VerificationError(f"{where}the exported file cannot be used: {error}")


def _refuse_changes(
    actual: Mapping[str, Array], looked_into: Mapping[str, Array], kernels: Kernels
) -> None:
    for name, array in looked_into.items():
        if not np.array_equal(actual[name], array):
            raise VerificationError(
                f"output {name!r} changes when inner values are read ({kernels} kernels): the "
                "file is not the model, or the runtime's graph optimizations change the result"
            )
