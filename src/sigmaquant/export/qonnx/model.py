"""The QONNX model of an integer program."""

from __future__ import annotations

import json
from pathlib import Path

from sigmaquant.artifact import written_atomically
from sigmaquant.export.onnx.floats import write_float_operator
from sigmaquant.export.onnx.graph import GraphBuilder, Model, Port, serialize
from sigmaquant.export.onnx.model import METADATA_WEIGHT_BITS
from sigmaquant.export.onnx.sheet import Sheet
from sigmaquant.export.qonnx.operators import write_operator
from sigmaquant.export.qonnx.sheet import DOMAIN, DOMAIN_VERSION, real_tensors, write_weights
from sigmaquant.lowering.program import FloatOperator, IntegerProgram


def write_qonnx(program: IntegerProgram, path: str | Path) -> None:
    """Write the program as a QONNX file; it appears whole or not at all.

    Raises:
        UnsupportedError: an operator cannot be expressed; nothing is written then.
        OutputError: the folder cannot be written.
    """
    content = serialize(build_model(program))
    with written_atomically(path) as temporary:
        temporary.write_bytes(content)


def build_model(program: IntegerProgram) -> Model:
    """The program as a QONNX model: float32 in, float32 out, any batch size.

    Raises:
        UnsupportedError: an operator cannot be expressed; names it and its place.
    """
    tensors = real_tensors(program)
    graph = GraphBuilder(reserved={*program.values, *tensors.values()})
    sheet = Sheet(graph, program, tensors, write_weights(graph, program))
    for operator in program.operators:
        if isinstance(operator, FloatOperator):
            write_float_operator(sheet, operator)
        else:
            write_operator(sheet, operator)
    bits = {weights.layer: weights.bits for weights in program.weights}
    return graph.model(
        program.network,
        [Port(name, program.values[name].shape) for name in program.inputs],
        [Port(name, program.values[name].shape) for name in program.outputs],
        {METADATA_WEIGHT_BITS: json.dumps(bits)},
        {DOMAIN: DOMAIN_VERSION},
    )
