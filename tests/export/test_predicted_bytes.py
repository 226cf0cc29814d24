"""What costs promise of a file's size, beside the files."""

import itertools
from pathlib import Path

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile
from sigmaquant.export.formats import FORMATS, FormatOptions, runtime_of
from sigmaquant.export.tflite.options import TfliteOptions
from sigmaquant.lowering import lower
from sigmaquant.quantized import quantize
from sigmaquant.stages import random_inputs
from tests import nets

GRAPH_BYTES = 24 * 1024
FAST = FormatOptions(tflite=TfliteOptions(variant="fast"))
CASES = {
    "litert-small": ("tflite", FormatOptions(), "ai_edge_litert"),
    "litert-fast": ("tflite", FAST, "ai_edge_litert"),
    "tflm": ("tflm", FormatOptions(), "tflite_micro"),
    "onnxruntime": ("onnx", FormatOptions(), "onnxruntime"),
    "onnxruntime-coded": ("onnx", FormatOptions(coded=True), "onnxruntime"),
    "c": ("c", FormatOptions(), "numpy"),
}


@pytest.mark.parametrize("runtime", CASES)
@pytest.mark.parametrize("net", ["resnet", "mobilenet", "conv1d"])
@pytest.mark.parametrize("widths", ["lowest", "all in turn"])
def test_files_are_as_large_as_predicted(
    runtime: str, net: str, widths: str, tmp_path: Path
) -> None:
    file_format, options, package = CASES[runtime]
    pytest.importorskip(package)
    network = nets.captured(net)
    costs = cost_table(network.table, load_profile("cortex-m4", runtime))
    turn = itertools.count()
    chosen = {}
    for layer in network.table.layers:
        offered = costs.weight_widths(layer.name)
        chosen[layer.name] = offered[0 if widths == "lowest" else next(turn) % len(offered)]
    plan = BitPlan.uniform(network.table, 8).with_weight_bits(chosen)
    program = lower(quantize(network, plan, nets.loader(net)))
    path = tmp_path / FORMATS[file_format].file
    inputs = random_inputs(program, 2)
    verification = FORMATS[file_format].export(program, path, inputs, options)
    predicted = costs.totals(plan)["flash_bytes"]
    assert predicted / 2 < verification.file_bytes <= 1.05 * predicted + GRAPH_BYTES


def test_some_formats_are_for_one_runtime_and_others_bind_nobody() -> None:
    assert runtime_of("tflite", FormatOptions()) == "litert-small"
    assert runtime_of("tflite", FAST) == "litert-fast"
    assert runtime_of("tflm", FAST) == "tflm"
    assert runtime_of("qnn", FAST) == "qnn"
    assert runtime_of("onnx", FormatOptions(coded=True)) == "onnxruntime-coded"
    assert {runtime_of(name, FAST) for name in ("onnx", "c", "qonnx")} == {None}
