"""Proves that an exported ONNX file computes what the integer reference computes.

A program of integers only has to agree bit for bit. Where operators stay float, no two runtimes
round alike, and one rounding that falls the other way spreads; so each operator is checked on the
runtime's own inputs: integer operators exactly, floats to ``FLOAT_TOLERANCE``, integers quantized
from floats to one step. The outputs as a whole then have to agree to ``OUTPUT_TOLERANCE``, or to
what the reference itself makes of float results that are off by one rounding: in a deep network
whose first layers are float, that can be more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import VerificationError
from sigmaquant.export.onnx.graph import UINT8, Node, Port, kinds, read_nodes, with_outputs
from sigmaquant.export.onnx.model import tensor_names
from sigmaquant.export.onnx.runtime import VERSION, OnnxRuntimeNetwork
from sigmaquant.export.verification import Verification
from sigmaquant.lowering.program import (
    AveragePool,
    Convolution,
    FloatOperator,
    IntegerProgram,
    Linear,
    MatMul,
    Operator,
)
from sigmaquant.lowering.reference import apply_operator, checked_inputs, run_reference

FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float operator, relative to its largest value."""
OUTPUT_TOLERANCE = 0.05
"""Root mean square difference of outputs behind float operators, relative to the outputs' own."""
_FLOAT_ROUNDING = 2.0**-23
"""Of a float operator's largest value: what no two runtimes agree on."""
_SEED = 0

_UNPACKING_KERNELS = {"BitShift", "CumSum", "NonZero", "ScatterElements"}
_FLOAT_KERNELS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SATURATION = (
    "On x86 CPUs without VNNI, ONNX Runtime's int8 kernels saturate with 8-bit weights; there the "
    'session option "session.x64quantprecision" = "1" or weights of 7 bits avoid it.'
)

Array = npt.NDArray[Any]


def verify_onnx(
    path: str | Path, program: IntegerProgram, inputs: Mapping[str, Array]
) -> Verification:
    """Run the file and the reference on the same inputs and compare.

    Args:
        path: the file that ``write_onnx`` wrote.
        program: what it was written from.
        inputs: (batch, *shape) float32 for each input of the program.

    Raises:
        VerificationError: the file computes something else, runs layers in float, or unpacks its
            weights in every run; names the first operator that differs.
        ArtifactError: the runtime cannot load the file.
        DataError: ``inputs`` do not fit the program.
    """
    file = Path(path)
    arrays = checked_inputs(program, inputs)
    expected = run_reference(program, arrays)
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        network = OnnxRuntimeNetwork(file, optimized=optimized)
        nodes = read_nodes(optimized)
    _refuse_float_layers(file, program, nodes)
    _refuse_unpacking(nodes)
    actual = network.run(arrays)
    _refuse_nan(actual)
    exact = not any(isinstance(operator, FloatOperator) for operator in program.operators)
    differences = [_differences(actual[name], expected[name]) for name in program.outputs]
    differing = sum(int(np.count_nonzero(difference)) for difference in differences)
    if not exact or differing:
        _compare_operators(file, program, arrays)
    if (exact and differing) or not _outputs_agree(program, arrays, actual, expected):
        raise VerificationError(
            f"{differing} output values differ from the integer reference, although every operator "
            f"agrees when its result is read: the runtime's graph optimizations change the result"
        )
    return Verification(
        runtime=VERSION,
        samples=len(next(iter(arrays.values()))),
        values=sum(difference.size for difference in differences),
        differing=differing,
        largest_difference=max(float(difference.max()) for difference in differences),
        exact=exact,
        kernels=kinds(nodes),
        file_bytes=file.stat().st_size,
    )


def _refuse_float_layers(file: Path, program: IntegerProgram, nodes: Iterable[Node]) -> None:
    """Count, because the runtime renames what it fuses: no more than the program's own."""
    own = len(_float_layers(read_nodes(file))) - sum(
        isinstance(operator, Convolution | Linear | MatMul | AveragePool)
        for operator in program.operators
    )
    left = _float_layers(nodes)
    if len(left) > own:
        names = ", ".join(f"{node.name} ({node.kind})" for node in left)
        raise VerificationError(
            f"{VERSION} would run {len(left)} layers in float where the program has {own}: {names}"
        )


def _refuse_unpacking(nodes: Iterable[Node]) -> None:
    """Weights are unpacked once, when the file is loaded: no runtime may do so for each sample."""
    left = sorted({node.kind for node in nodes} & _UNPACKING_KERNELS)
    if left:
        raise VerificationError(
            f"{VERSION} would unpack the weights anew for each batch: it does not fold "
            f"{', '.join(left)}. Another version of it may"
        )


def _float_layers(nodes: Iterable[Node]) -> list[Node]:
    return [
        node
        for node in nodes
        if node.kind.removeprefix("Nhwc").removeprefix("Fused") in _FLOAT_KERNELS
    ]


def _differences(actual: Array, expected: Array) -> npt.NDArray[np.float64]:
    return np.abs(actual.astype(np.float64) - expected.astype(np.float64))


def _refuse_nan(actual: Mapping[str, Array]) -> None:
    for name, array in actual.items():
        if np.isnan(array).any():
            raise VerificationError(f"output {name!r} holds NaN in {VERSION}")


def _outputs_agree(
    program: IntegerProgram,
    arrays: Mapping[str, Array],
    actual: Mapping[str, Array],
    expected: Mapping[str, Array],
) -> bool:
    far = {
        name: distance
        for name, array in expected.items()
        if (distance := _distance(actual[name], array)) > OUTPUT_TOLERANCE * _size(array)
    }
    if not far:
        return True
    moved = rounded_otherwise(program, arrays)
    return all(distance <= _distance(moved[name], expected[name]) for name, distance in far.items())


def rounded_otherwise(program: IntegerProgram, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The reference's outputs where every float operator's result is off by up to one rounding.

    Args:
        program: what to run.
        arrays: (batch, *shape) for each input.
    """
    random, values = np.random.default_rng(_SEED), dict(arrays)
    for operator in program.operators:
        result = apply_operator(program, operator, [values[name] for name in operator.inputs])
        if isinstance(operator, FloatOperator) and result.dtype == np.float32:
            errors = random.uniform(-1, 1, result.shape) * _FLOAT_ROUNDING * np.abs(result).max()
            result = (result + errors).astype(np.float32)
        values[operator.output] = result
    return {name: values[name] for name in program.outputs}


def _distance(actual: Array, expected: Array) -> float:
    return _size(_differences(actual, expected))


def _size(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def _compare_operators(file: Path, program: IntegerProgram, arrays: Mapping[str, Array]) -> None:
    """Check each operator on the runtime's own inputs, in order of execution.

    The file is run with all its integer values exposed. Float values inside the network are not:
    reading them would keep the runtime from fusing around them. They are computed from what is
    known, and the next integers behind them are checked.

    Raises:
        VerificationError: names the first operator that differs.
    """
    values = {**arrays, **_integer_values(file, program, arrays)}
    float_sources: dict[str, str] = {}
    for operator in program.operators:
        expected = apply_operator(program, operator, [values[name] for name in operator.inputs])
        float_source = _float_source(operator, float_sources)
        if operator.output in values:
            _compare_values(operator, values[operator.output], expected, float_source)
        else:
            values[operator.output] = expected
            if float_source is not None:
                float_sources[operator.output] = float_source


def _float_source(operator: Operator, float_sources: Mapping[str, str]) -> str | None:
    """The float operator that a result depends on since integers were last read."""
    if isinstance(operator, FloatOperator):
        return operator.name
    return next((float_sources[name] for name in operator.inputs if name in float_sources), None)


def _integer_values(
    file: Path, program: IntegerProgram, arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """What the runtime computes for every integer value, and for the outputs."""
    tensors = tensor_names(program)
    inner = [
        value
        for operator in program.operators
        if (value := program.values[operator.output]).encoding is not None
    ]
    ports = [Port(tensors[value.name], value.shape, UINT8) for value in inner]
    results = OnnxRuntimeNetwork(with_outputs(file, ports)).run(arrays)
    read = [*(value.name for value in inner), *program.outputs]
    return {name: results[tensors[name]] for name in read}


def _compare_values(
    operator: Operator, actual: Array, expected: Array, float_source: str | None
) -> None:
    difference = _differences(actual, expected)
    if float_source is None:
        limit = 0.0
    elif actual.dtype == np.uint8:
        limit = 1.0
    else:
        limit = FLOAT_TOLERANCE * float(np.abs(expected).max())
    if difference.max() <= limit:
        return
    count = int(np.count_nonzero(difference > limit))
    behind = f" behind {float_source}" if float_source not in (None, operator.name) else ""
    hint = f". {_SATURATION}" if _can_saturate(operator) else ""
    raise VerificationError(
        f"{operator.name} ({type(operator).__name__}){behind} differs from the integer reference "
        f"in {count} of {difference.size} values, by at most {difference.max():.4g}{hint}"
    )


def _can_saturate(operator: Operator) -> bool:
    """Two products of 8-bit activations and weights can exceed int16: 2 * 255 * 128 > 2^15."""
    return isinstance(operator, Convolution | Linear) and operator.weights.bits == 8
