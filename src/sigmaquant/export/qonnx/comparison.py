"""A simulated file beside the integer reference, operator by operator.

The simulation computes in float32 what the reference computes in integers, so a result that lies
on the edge between two steps may fall to the other side, and such a step spreads. Each operator is
therefore checked on the simulation's own inputs: what computes may be one step away, what moves or
compares has to be equal. No random network was ever more than one step away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import VerificationError
from sigmaquant.export.onnx.graph import Model, Node, Port, kinds, serialize
from sigmaquant.export.onnx.runtime import VERSION, OnnxRuntimeNetwork
from sigmaquant.export.qonnx.sheet import bias_name, weight_name
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import (
    Clamp,
    Concat,
    Convolution,
    Encoding,
    FloatOperator,
    IntegerProgram,
    Linear,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Reshape,
    Slice,
)
from sigmaquant.lowering.reference import apply_operator, checked_inputs, run_reference

STEPS = 1
"""How many steps of its output an operator that computes may be from the reference."""
FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float result, relative to its largest value."""

_EXACT = (Clamp, Concat, MaxPool, Pad, Permute, Reshape, Slice)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Simulated:
    """A file's network in standard operators.

    Attributes:
        model: with fake quantization spelled out.
        tensors: the tensor that holds each value as real numbers.
        kernels: how often each operator occurs in the file itself.
        file_bytes: of the file.
    """

    model: Model
    tensors: Mapping[str, str]
    kernels: Mapping[str, int]
    file_bytes: int


def operator_counts(model: Model) -> dict[str, int]:
    """How often each operator occurs in a model."""
    return kinds(Node(item.op_type, item.name) for item in model.graph.node)


def compare(
    simulated: Simulated, program: IntegerProgram, inputs: Mapping[str, Array]
) -> Verification:
    """Run the simulation and the reference on the same inputs.

    Args:
        simulated: the file.
        program: what it was written from.
        inputs: (batch, *shape) float32 for each input of the program.

    Raises:
        VerificationError: the file computes something else; names the first operator that differs.
        DataError: ``inputs`` do not fit the program.
    """
    arrays = checked_inputs(program, inputs)
    expected, values = run_reference(program, arrays), _values(simulated, program, arrays)
    steps = _compare_operators(program, values)
    differences = [_differences(values[name], expected[name]) for name in program.outputs]
    return Verification(
        runtime=f"{VERSION}, simulated in float32",
        samples=len(next(iter(arrays.values()))),
        values=sum(difference.size for difference in differences),
        differing=sum(int(np.count_nonzero(difference)) for difference in differences),
        largest_difference=max(float(difference.max()) for difference in differences),
        exact=False,
        kernels=dict(simulated.kernels),
        file_bytes=simulated.file_bytes,
        largest_steps=steps,
    )


def compare_parameters(
    stored: Mapping[str, npt.NDArray[np.int64]], program: IntegerProgram
) -> None:
    """Weights and biases have to be the record's, integer by integer.

    Args:
        stored: integers by the names of the file's constants.
        program: what the file was written from.

    Raises:
        VerificationError: an integer differs; names the constant.
    """
    for name, wanted in _parameters(program).items():
        actual = stored.get(name)
        if actual is None or not np.array_equal(actual, wanted):
            raise VerificationError(f"{name}: the file does not hold the integers of the record")


def _parameters(program: IntegerProgram) -> dict[str, Array]:
    weights = {weight_name(layer): layer.values for layer in program.weights}
    biases = {
        bias_name(operator): operator.bias
        for operator in program.operators
        if isinstance(operator, Convolution | Linear)
    }
    return weights | biases


def _values(
    simulated: Simulated, program: IntegerProgram, arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """Every value in the simulation as the reference has it: uint8 where quantized."""
    model, tensors = simulated.model, simulated.tensors
    exposed = {item.name for item in (*model.graph.input, *model.graph.output)}
    ports = {
        tensors[name]: Port(tensors[name], value.shape)
        for name, value in program.values.items()
        if tensors[name] not in exposed
    }
    model.graph.output.extend(port.to_proto() for port in ports.values())
    results = {**arrays, **OnnxRuntimeNetwork(serialize(model)).run(arrays)}
    return {
        name: _read(results[tensors[name]], value.encoding, name)
        for name, value in program.values.items()
    }


def _read(real: Array, encoding: Encoding | None, name: str) -> Array:
    if np.isnan(real).any():
        raise VerificationError(f"{name} holds NaN in {VERSION}")
    if encoding is None:
        return real
    steps = real.astype(np.float64) / encoding.scale + encoding.zero_point
    integers = np.rint(steps)
    if np.abs(steps - integers).max(initial=0) > FLOAT_TOLERANCE * (encoding.highest + 1):
        raise VerificationError(f"{name} is not on its grid of {encoding.bits} bits in {VERSION}")
    if integers.min(initial=0) < 0 or integers.max(initial=0) > encoding.highest:
        raise VerificationError(f"{name} exceeds its {encoding.bits} bits in {VERSION}")
    return integers.astype(np.uint8)


def _compare_operators(program: IntegerProgram, values: Mapping[str, Array]) -> dict[str, int]:
    """Check each operator in order of execution; the largest steps by kind of operator."""
    steps: dict[str, int] = {}
    for operator in program.operators:
        given = [values[name] for name in operator.inputs]
        expected = apply_operator(program, operator, given)
        difference = _differences(values[operator.output], expected)
        limit = _tolerance(program, operator, expected)
        if not difference.max() <= limit:
            count = int(np.count_nonzero(difference > limit))
            raise VerificationError(
                f"{operator.name} ({type(operator).__name__}) differs from the integer reference "
                f"in {count} of {difference.size} values, by up to {difference.max():.4g} where "
                f"{limit:.4g} is allowed"
            )
        if expected.dtype == np.uint8:
            kind = type(operator).__name__
            steps[kind] = max(int(difference.max()), steps.get(kind, 0))
    return steps


def _tolerance(program: IntegerProgram, operator: Operator, expected: Array) -> float:
    """In steps of an integer result, or in the unit of a float one."""
    if expected.dtype == np.uint8:
        return 0 if isinstance(operator, _EXACT) else STEPS
    if isinstance(operator, FloatOperator | Linear):
        return FLOAT_TOLERANCE * float(np.abs(expected).max())
    encoding = program.values[operator.inputs[0]].encoding
    return 0.0 if encoding is None else FLOAT_TOLERANCE * encoding.scale


def _differences(actual: Array, expected: Array) -> npt.NDArray[np.float64]:
    return np.abs(actual.astype(np.float64) - expected.astype(np.float64))
