from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tflite_micro")

from sigmaquant.errors import (
    ArtifactError,
    DataError,
    MissingExtraError,
    VerificationError,
)
from sigmaquant.export import export_tflm
from sigmaquant.export.formats import FORMATS, FormatOptions
from sigmaquant.export.heads import with_integer_heads
from sigmaquant.export.tflite import layers, verify_micro
from sigmaquant.export.tflite.flatfile import operator_counts
from sigmaquant.export.tflite.micro import MicroNetwork, micro_content
from sigmaquant.export.tflite.model import build_model
from sigmaquant.export.tflite.options import MicroOptions, TfliteOptions
from sigmaquant.export.tflite.verify_micro import verify_tflm
from sigmaquant.lowering import lower
from sigmaquant.lowering.program import IntegerProgram
from sigmaquant.lowering.reference import run_reference
from sigmaquant.stages import random_inputs
from tests import nets

Builder = Any
DECODE = "TFLM_DECODE"


@pytest.fixture
def build(builder: Builder) -> Builder:
    return builder()


@pytest.fixture
def program(build: Builder) -> IntegerProgram:
    """Convolutions of 3 x 3 and 1 x 1 and a head, of 4 bits; a table and a sum."""
    value = build.convolution(build.quantize(build.input((4, 8, 8))), 8, bits=4)
    branch = build.convolution(build.lookup(value), 8, (1, 1), bits=4)
    pooled = build.global_average(build.add(value, branch))
    return build.program(build.linear(pooled, 5, bits=4, to_float=True))


@pytest.mark.parametrize("net", ["resnet", "mobilenet", "shuffle", "conv1d", "attention"])
def test_captured_networks(net: str, tmp_path: Path) -> None:
    program = lower(nets.quantized(net, 4))
    result = export_tflm(program, tmp_path / "net.tflite", random_inputs(program, 2))
    assert max(result.largest_steps.values()) <= 1


def test_the_verification_lists_the_kernels_to_register(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    result = export_tflm(program, tmp_path / "net.tflite", build.batch(4))
    assert result.runtime.startswith("tflite-micro ")
    assert result.samples == 4
    assert result.kernels.keys() == {
        "ADD", "CAST", "CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED", "GATHER", "MEAN", "QUANTIZE",
        "TRANSPOSE",
    }  # fmt: skip
    assert result.kernels["CONV_2D"] == 2
    assert result.ram_bytes is not None
    assert 1_000 < result.ram_bytes < 100_000


@pytest.mark.parametrize("bits", range(2, 9))
def test_wide_layers_of_every_width_are_exact_behind_tables(
    builder: Builder, tmp_path: Path, bits: int
) -> None:
    build = builder(bits)
    value = build.convolution(build.quantize(build.input((64, 6, 6))), 16, bits=bits)
    value = build.convolution(value, 16, groups=16, bits=bits)
    flat = build.reshape(value, (16 * 36,))
    program = build.program(build.dequantize(build.linear(flat, 64, bits=bits)))
    result = export_tflm(program, tmp_path / "net.tflite", build.batch())
    assert max(result.largest_steps.values()) <= 1
    assert result.kernels.get(DECODE, 0) == {2: 2, 3: 2, 4: 1, 5: 2, 6: 2, 7: 0, 8: 0}[bits]


@pytest.mark.parametrize(
    ("channels", "bits"), [(8, 3), (16, 5), (32, 3), (32, 5), (64, 2), (64, 6)]
)
def test_tables_are_used_only_where_the_file_gets_smaller(
    build: Builder, monkeypatch: pytest.MonkeyPatch, channels: int, bits: int
) -> None:
    value = build.quantize(build.input((channels, 4, 4)))
    value = build.convolution(value, channels, bits=bits)
    settled = with_integer_heads(build.program(build.dequantize(value)), build.batch())
    with_rule = micro_content(build_model(settled, MicroOptions()))
    monkeypatch.setattr(layers, "is_worth_a_table", lambda *_, **__: False)
    without = micro_content(build_model(settled, MicroOptions()))
    assert operator_counts(without) == {"CONV_2D": 1, "DEQUANTIZE": 1, "QUANTIZE": 1,
                                        "TRANSPOSE": 2}  # fmt: skip
    assert len(with_rule) <= len(without)
    if DECODE in operator_counts(with_rule):
        assert len(with_rule) < len(without)


@pytest.mark.parametrize("interface", ["float32", "int8", "uint8"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_interface_runs(
    program: IntegerProgram,
    build: Builder,
    tmp_path: Path,
    interface: str,
    channels_last: bool,
) -> None:
    inputs = build.batch(3)
    options = FormatOptions(
        tflite=TfliteOptions.model_validate(
            {"interface": interface, "channels_last": channels_last, "variant": "fast"}
        )
    )
    path = tmp_path / FORMATS["tflm"].file
    FORMATS["tflm"].export(program, path, inputs, options)
    (actual,) = FORMATS["tflm"].open(path)(*inputs.values())
    settled = with_integer_heads(program, inputs)
    (expected,) = run_reference(settled, inputs).values()
    encoding = settled.values[f"{program.outputs[0]}/quantized"].encoding
    assert encoding is not None
    assert np.abs(actual - expected).max() <= 4.01 * encoding.scale


def test_a_difference_names_the_operator(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_micro, "_steps", lambda _: -1)
    with pytest.raises(VerificationError, match=r"quantize0 \(Quantize\) differs .*tflite-micro"):
        export_tflm(program, tmp_path / "net.tflite", build.batch())
    assert list(tmp_path.iterdir()) == []


def test_what_the_runtime_refuses_fails_the_export(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    inputs = build.batch()
    settled = with_integer_heads(program, inputs)
    model = build_model(settled, TfliteOptions(variant="small"))  # int4 FULLY_CONNECTED
    (tmp_path / "net.tflite").write_bytes(model.content())
    with pytest.raises(VerificationError, match="the exported file cannot be used"):
        verify_tflm(tmp_path / "net.tflite", model, settled, inputs)


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_damaged_files_are_artifact_errors(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"is no TensorFlow Lite file"):
        MicroNetwork(tmp_path / "net.tflite")
    with pytest.raises(ArtifactError):
        MicroNetwork(tmp_path / "missing.tflite")


def test_inputs_that_do_not_fit_are_data_errors(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    export_tflm(program, tmp_path / "net.tflite", build.batch())
    network = MicroNetwork(tmp_path / "net.tflite")
    with pytest.raises(DataError, match=r"cannot run on inputs .*\(1, 4, 9, 9\)"):
        network.run({"x0": np.zeros((1, 4, 9, 9))})


def test_a_missing_package_names_the_extra(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("sigmaquant.export.tflite.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sigmaquant-edge\[tflm\]'"):
        export_tflm(program, tmp_path / "net.tflite", build.batch())
    assert list(tmp_path.iterdir()) == []
