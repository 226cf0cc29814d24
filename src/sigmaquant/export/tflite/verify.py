"""Proves that an exported TensorFlow Lite file computes what the integer reference computes.

LiteRT has two sets of kernels, and a phone may use either; the file is run with both. Their
rounding differs from the reference's by a step here and there (see ``tolerances``), and such a
step spreads. So each operator is checked on the runtime's own inputs, with all values exposed as
outputs, and the file as it is then has to give the very same outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, DataError, VerificationError
from sigmaquant.export.tflite.model import Model
from sigmaquant.export.tflite.runtime import KERNELS, VERSION, Kernels, LiteRtNetwork
from sigmaquant.export.tflite.sheet import LOWEST
from sigmaquant.export.tflite.tolerances import tolerance_float, tolerance_steps
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import IntegerProgram, Operator
from sigmaquant.lowering.reference import apply_operator, checked_inputs, run_reference

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
    differences: list[npt.NDArray[np.float64]] = []
    largest_steps: dict[str, int] = {}
    operators: dict[str, int] = {}
    for kernels in KERNELS:
        network = _loaded(file, model, kernels)
        actual = _run(network, arrays, model)
        inside = _Inside(_loaded(exposed, model, kernels), model, program, kernels)
        _refuse_changes(actual, _run(inside.network, arrays, model), kernels)
        steps = inside.compare_operators(arrays)
        largest_steps |= {f"{kernels} {kind}": most for kind, most in steps.items()}
        differences += [_differences(actual[name], expected[name]) for name in program.outputs]
        operators = operators or network.operators
    return Verification(
        runtime=f"{VERSION}, {' and '.join(KERNELS)} kernels",
        samples=len(next(iter(arrays.values()))),
        values=sum(difference.size for difference in differences),
        differing=sum(int(np.count_nonzero(difference)) for difference in differences),
        largest_difference=max(float(difference.max()) for difference in differences),
        exact=False,
        kernels=operators,
        file_bytes=file.stat().st_size,
        largest_steps=largest_steps,
    )


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


@dataclass(frozen=True)
class _Inside:
    """A run of the model with all values exposed.

    Attributes:
        network: the exposed model.
        model: where each value is.
        program: what each operator should compute.
        kernels: that ran.
    """

    network: LiteRtNetwork
    model: Model
    program: IntegerProgram
    kernels: Kernels

    def compare_operators(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        """Check each operator on the runtime's own inputs, in order of execution.

        Returns:
            The largest difference in steps, by kind of operator.

        Raises:
            VerificationError: names the first operator that differs.
        """
        values, steps = dict(arrays), dict[str, int]()
        for operator in self.program.operators:
            given = [values[name] for name in operator.inputs]
            expected = apply_operator(self.program, operator, given)
            actual = values[operator.output] = self._read(operator.output)
            largest = self._compare(operator, actual, expected)
            if expected.dtype == np.uint8:
                kind = type(operator).__name__
                steps[kind] = max(int(largest), steps.get(kind, 0))
        return steps

    def _read(self, name: str) -> Array:
        """A value as the reference has it: in the network's dimensions, uint8 where quantized."""
        place = self.model.places[name]
        array = self.network.value(place.tensor, place.layout)
        if self.program.values[name].encoding is not None:
            return (array.astype(np.int16) - LOWEST).astype(np.uint8)
        quantization = self.model.graph.record(place.tensor).quantization
        return array if quantization is None else quantization.real(array)

    def _compare(self, operator: Operator, actual: Array, expected: Array) -> float:
        """The largest difference."""
        limit = (
            tolerance_steps(operator, self.kernels, self.model.options.variant)
            if expected.dtype == np.uint8
            else tolerance_float(operator, self.program, expected)
        )
        difference = _differences(actual, expected)
        # A comparison that NaN fails, unlike ``difference.max() > limit``.
        if difference.max() <= limit:
            return float(difference.max())
        count = int(np.count_nonzero(~(difference <= limit)))
        raise VerificationError(
            f"{operator.name} ({type(operator).__name__}) differs from the integer reference in "
            f"{count} of {difference.size} values, by up to {difference.max():.4g} where "
            f"{limit:.4g} is allowed ({VERSION}, {self.kernels} kernels)"
        )


def _differences(actual: Array, expected: Array) -> npt.NDArray[np.float64]:
    return np.abs(actual.astype(np.float64) - expected.astype(np.float64))
