from __future__ import annotations

from pathlib import Path

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.lowering import lower
from sigmaquant.quantized import quantize
from tests import nets

pytest.importorskip("onnxruntime")

from sigmaquant.export import export_onnx

EXACT = [
    "mlp",
    "resnet",
    "mobilenet",
    "concat",
    "shuffle",
    "multi_output",
    "activations",
    "conv1d",
    "tied",
    "same_padding",
    "pyramid",
    "pre_activation",
    "asymmetric_pad",
    "two_inputs",
    "decoder",
    "decoder1d",
]
WITH_FLOAT_OPERATORS = ["softmax", "attention", "norms"]


def test_attention_multiplies_integers_around_a_float_softmax(tmp_path: Path) -> None:
    """An 8-bit softmax would be off by one step, which is much at 4 bits."""
    network = nets.captured("attention")
    program = lower(
        quantize(network, BitPlan.uniform(network.table, 4, 4), nets.loader("attention"))
    )
    arrays = {program.inputs[0]: nets.samples("attention", 64, seed=5)[0].numpy()}
    kernels = export_onnx(program, tmp_path / "model.onnx", arrays).kernels
    assert kernels["QLinearMatMul"] == 2
    assert kernels["Softmax"] == 1
    assert not kernels.keys() & {"MatMul", "FusedMatMul", "QLinearSoftmax"}


@pytest.mark.parametrize("name", [*EXACT, *WITH_FLOAT_OPERATORS])
def test_the_runtime_computes_what_the_lowered_program_says(name: str, tmp_path: Path) -> None:
    """Weights of 2 to 7 bits in turn: with 8, x86 CPUs without VNNI may saturate."""
    network = nets.captured(name)
    widths = {layer.name: 2 + index % 6 for index, layer in enumerate(network.table.layers)}
    plan = BitPlan.uniform(network.table, 4).with_weight_bits(widths)
    program = lower(quantize(network, plan, nets.loader(name)))
    inputs = nets.samples(name, network.batch_size or 8, seed=5)
    arrays = {key: x.numpy() for key, x in zip(program.inputs, inputs, strict=True)}
    verification = export_onnx(program, tmp_path / "model.onnx", arrays)
    assert (tmp_path / "model.onnx").exists()
    if name in EXACT and not network.table.float_operators:
        assert verification.exact
        assert verification.differing == 0
