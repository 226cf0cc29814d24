"""What a runtime computed beside the integer reference, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import VerificationError
from sigmaquant.export.tflite.layout import Layout
from sigmaquant.export.tflite.model import Model
from sigmaquant.export.tflite.sheet import LOWEST
from sigmaquant.export.tflite.tolerances import tolerance_float
from sigmaquant.lowering.program import IntegerProgram, Operator
from sigmaquant.lowering.reference import apply_operator

Array = npt.NDArray[Any]


class Inspected(Protocol):
    """A network whose values can be read after it has run."""

    def value(self, tensor: int, layout: Layout) -> Array:
        """What a tensor of the file holds: (batch, *shape) in the network's dimensions."""


@dataclass(frozen=True)
class Inside:
    """A run of the model with all values readable.

    Attributes:
        network: after the run.
        model: where each value is.
        program: what each operator should compute.
        tolerance_steps: how far an integer operator may be from the reference.
        runtime: name, version and kernels, for messages.
    """

    network: Inspected
    model: Model
    program: IntegerProgram
    tolerance_steps: Callable[[Operator], int]
    runtime: str

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
            self.tolerance_steps(operator)
            if expected.dtype == np.uint8
            else tolerance_float(operator, self.program, expected)
        )
        difference = differences(actual, expected)
        # A comparison that NaN fails, unlike ``difference.max() > limit``.
        if difference.max() <= limit:
            return float(difference.max())
        count = int(np.count_nonzero(~(difference <= limit)))
        raise VerificationError(
            f"{operator.name} ({type(operator).__name__}) differs from the integer reference in "
            f"{count} of {difference.size} values, by up to {difference.max():.4g} where "
            f"{limit:.4g} is allowed ({self.runtime})"
        )


def differences(actual: Array, expected: Array) -> npt.NDArray[np.float64]:
    """How far apart two arrays are, value by value."""
    return np.abs(actual.astype(np.float64) - expected.astype(np.float64))
