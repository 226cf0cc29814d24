"""The networks that are timed compute what they say, in the runtime's integer kernels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sigmaquant.export.onnx.graph import serialize
from sigmaquant.export.onnx.model import build_model
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.lowering.reference import run_reference
from sigmaquant.profiling.host_chains import OPERATORS, LayerChain, OperatorChain
from sigmaquant.profiling.host_grid import layer_chains, operator_chains

LAYERS = (
    LayerChain(LayerKind.CONV, 3, 8, 3, size=9, kernel=3, stride=2),
    LayerChain(LayerKind.DEPTHWISE_CONV, 8, 8, 2, size=6, kernel=5),
    LayerChain(LayerKind.LINEAR, 12, 7, 5),
)
OTHERS = tuple(OperatorChain(name, (4, 6, 6)) for name in OPERATORS)


@pytest.mark.parametrize("chain", [*LAYERS, *OTHERS], ids=lambda chain: chain.name)
def test_a_chain_runs_as_the_reference_says(chain):
    program = chain.program(3)
    (name,) = program.inputs
    sample = np.random.default_rng(0).normal(size=(1, *program.values[name].shape))
    inputs = {name: sample.astype(np.float32)}
    found = OnnxRuntimeNetwork(serialize(build_model(program))).run(inputs)
    (wanted,) = run_reference(program, inputs).values()
    np.testing.assert_allclose(*found.values(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chain", LAYERS, ids=lambda chain: chain.name)
def test_every_link_stays_in_the_graph_that_runs(chain, tmp_path):
    optimized = tmp_path / "optimized.onnx"
    OnnxRuntimeNetwork(serialize(build_model(chain.program(4))), optimized=optimized)
    operators = [node.op_type for node in onnx.load(optimized).graph.node]
    kernel = "QGemm" if chain.kind is LayerKind.LINEAR else "QLinearConv"
    assert operators.count(kernel) == 4
    assert operators.count("QLinearAdd") == 3


def test_the_record_of_a_layer_is_that_of_its_program():
    for chain in layer_chains():
        layer, operator = chain.layer, chain.program(1).operators[1]
        assert operator.weights.values.shape == layer.weight_shape
        assert layer.macs == layer.kernel_elements * layer.outputs
        half = 1 << (chain.weight_bits - 1)
        assert -half <= operator.weights.values.min() < 0
        assert operator.weights.values.max() < half


def test_the_grid_has_each_kind_in_each_container_and_operators_of_both_kinds():
    chains = tuple(layer_chains())
    assert {(chain.kind, chain.weight_bits) for chain in chains} == {
        (kind, bits) for kind in LayerKind for bits in WIDTHS
    }
    assert {chain.quantized for chain in operator_chains()} == {True, False}
    assert len({chain.name for chain in chains}) == len(chains)
