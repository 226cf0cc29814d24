"""The ONNX model of an integer program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sigmaquant.artifact import written_atomically
from sigmaquant.export.onnx.floats import write_float_operator
from sigmaquant.export.onnx.graph import GraphBuilder, Model, Port, serialize
from sigmaquant.export.onnx.integers import write_integer_operator
from sigmaquant.export.onnx.parameters import write_parameters
from sigmaquant.export.onnx.sheet import Sheet
from sigmaquant.export.onnx.weights import write_weights
from sigmaquant.lowering.program import FloatOperator, IntegerProgram

METADATA_WEIGHT_BITS = "sigmaquant.weight_bits"
"""Key of the file's metadata that holds the bit plan: a JSON object, layer -> bits."""


def write_onnx(program: IntegerProgram, path: str | Path, *, coded: bool = False) -> None:
    """Write the program as an ONNX file; it appears whole or not at all.

    Args:
        program: what to export.
        path: the file.
        coded: whether weights are written in a prefix code (see ``coding``), and scales and biases
            in 16 bits where these hold them (see ``with_half_precision``).

    Raises:
        UnsupportedError: an operator cannot be expressed; nothing is written then.
        OutputError: the folder cannot be written.
    """
    content = serialize(build_model(program, coded=coded))
    with written_atomically(path) as temporary:
        temporary.write_bytes(content)


def build_model(program: IntegerProgram, *, coded: bool = False) -> Model:
    """The program as an ONNX model: float32 in, float32 out, any batch size.

    Raises:
        UnsupportedError: an operator cannot be expressed; names it and its place.
    """
    tensors = tensor_names(program)
    graph = GraphBuilder(reserved=tensors.values())
    weights = write_weights(graph, program.weights, coded=coded)
    parameters = write_parameters(graph, program, coded=coded)
    sheet = Sheet(graph, program, tensors, weights, parameters)
    for operator in program.operators:
        if isinstance(operator, FloatOperator):
            write_float_operator(sheet, operator)
        else:
            write_integer_operator(sheet, operator)
    bits = {weights.layer: weights.bits for weights in program.weights}
    return graph.model(
        program.network,
        list(_ports(program, program.inputs)),
        list(_ports(program, program.outputs)),
        {METADATA_WEIGHT_BITS: json.dumps(bits)},
    )


def tensor_names(program: IntegerProgram) -> dict[str, str]:
    """The file's name for each value: inputs and outputs keep theirs, others get short ones."""
    kept = dict.fromkeys((*program.inputs, *program.outputs))
    inner = [name for name in program.values if name not in kept]
    short = (name for index in range(10**9) if (name := f"v{index}") not in kept)
    return {**{name: name for name in kept}, **dict(zip(inner, short, strict=False))}


def _ports(program: IntegerProgram, names: tuple[str, ...]) -> Iterator[Port]:
    return (Port(name, program.values[name].shape) for name in names)
