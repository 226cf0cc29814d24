import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from sigmaquant.errors import ArtifactError, DataError, MissingExtraError, VerificationError
from sigmaquant.export import export_tflite
from sigmaquant.export.heads import with_integer_heads
from sigmaquant.export.tflite import layers, verify
from sigmaquant.export.tflite.model import build_model, write_tflite
from sigmaquant.export.tflite.options import TfliteOptions
from sigmaquant.export.tflite.runtime import LiteRtNetwork
from sigmaquant.export.tflite.verify import verify_tflite
from sigmaquant.lowering.program import Encoding, IntegerProgram, Value
from sigmaquant.lowering.reference import run_reference

Builder = Any


@pytest.fixture
def build(builder: Builder) -> Builder:
    return builder()


@pytest.fixture
def program(build: Builder) -> IntegerProgram:
    """Three convolutions of 4, 4 and 8 bits and a float head of 3 bits."""
    value = build.quantize(build.input((4, 8, 8)))
    for bits in (4, 4, 8):
        value = build.convolution(value, 8, bits=bits)
    return build.program(build.linear(build.global_average(value), 5, bits=3, to_float=True))


def with_operator(program: IntegerProgram, index: int, **fields: Any) -> IntegerProgram:
    operators = list(program.operators)
    operators[index] = dataclasses.replace(operators[index], **fields)
    return dataclasses.replace(program, operators=tuple(operators))


def test_a_verification_says_what_was_compared(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    result = export_tflite(program, tmp_path / "net.tflite", build.batch(6))
    assert result.runtime.startswith("ai-edge-litert ")
    assert result.runtime.endswith("XNNPACK and built-in kernels")
    assert (result.samples, result.values) == (6, 2 * 6 * 5)
    assert 0 <= result.differing <= result.values
    assert not result.exact
    assert result.kernels["CONV_2D"] == 3
    assert result.kernels["DELEGATE"] >= 1
    assert result.largest_steps["XNNPACK Linear"] == 0
    assert set(result.largest_steps) == {
        f"{kernels} {kind}"
        for kernels in ("XNNPACK", "built-in")
        for kind in ("Quantize", "Convolution", "GlobalAverage", "Linear")
    }


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_changed_weight_is_found_in_its_layer(
    program: IntegerProgram, build: Builder, tmp_path: Path, index: int
) -> None:
    inputs = build.batch()
    settled = with_integer_heads(program, inputs)
    weights = settled.operators[index].weights
    changed = dataclasses.replace(weights, values=weights.values[::-1].copy())
    model = build_model(with_operator(settled, index, weights=changed))
    write_tflite(model, tmp_path / "net.tflite")
    message = rf"^block\.convolution{index} \(Convolution\) .* of 1536 values, .* XNNPACK kernels"
    with pytest.raises(VerificationError, match=message):
        verify_tflite(tmp_path / "net.tflite", model, settled, inputs)


def test_a_file_that_is_not_the_model_is_found(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    inputs = build.batch()
    settled = with_integer_heads(program, inputs)
    write_tflite(
        build_model(with_operator(settled, 1, bias=settled.operators[1].bias + 99)),
        tmp_path / "net.tflite",
    )
    with pytest.raises(VerificationError, match="changes when inner values are read"):
        verify_tflite(tmp_path / "net.tflite", build_model(settled), settled, inputs)


def test_a_kernel_that_refuses_is_named_by_its_place(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN: a convolution with int2 weights; LiteRT refuses it when the file is loaded."""
    monkeypatch.setattr(layers, "stored_bits", lambda w, *_, **__: 2 if w.bits == 2 else 8)
    narrow = dataclasses.replace(program.operators[2].weights, bits=2)
    narrow = dataclasses.replace(narrow, values=np.clip(narrow.values, -2, 1))
    message = r"^block\.convolution2\.out: the exported file cannot be used: .*CONV_2D"
    with pytest.raises(VerificationError, match=message):
        export_tflite(
            with_operator(program, 2, weights=narrow), tmp_path / "net.tflite", build.batch()
        )
    assert list(tmp_path.iterdir()) == []


def test_nan_is_found(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def value(network: LiteRtNetwork, tensor: int, layout: Any) -> np.ndarray:
        array = original(network, tensor, layout)
        return np.full_like(array, np.nan) if array.dtype == np.float32 else array

    original = LiteRtNetwork.value
    monkeypatch.setattr(LiteRtNetwork, "value", value)
    with pytest.raises(
        VerificationError, match=r"\(Dequantize\) .* in 15 of 15 values, by up to nan"
    ):
        export_tflite(program, tmp_path / "net.tflite", build.batch())


def test_a_kernel_that_is_exact_has_to_stay_exact(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "tolerance_steps", lambda *_: 0)
    with pytest.raises(VerificationError, match="by up to 1 where 0 is allowed"):
        export_tflite(program, tmp_path / "net.tflite", build.batch(16))


def test_a_file_that_fails_never_takes_the_name(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise VerificationError("differs")

    path = tmp_path / "net.tflite"
    path.write_text("the last good one")
    monkeypatch.setattr(verify, "verify_tflite", fail)
    with pytest.raises(VerificationError):
        export_tflite(program, path, build.batch())
    assert path.read_text() == "the last good one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_network_is_called_with_arrays_of_any_batch_size(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    inputs = build.batch(4)
    settled = with_integer_heads(program, inputs)
    (expected,) = run_reference(settled, inputs).values()
    content = build_model(settled, TfliteOptions(interface="uint8")).content()
    network = LiteRtNetwork(content)
    step = settled.values[settled.operators[-2].output].encoding.scale
    for array in (inputs["x0"], inputs["x0"][:1].astype(np.float64), inputs["x0"]):
        (output,) = network(array)
        assert output.dtype == np.float32
        assert np.abs(output - expected[: len(array)]).max() <= 3.01 * step


def test_inputs_that_do_not_fit_are_data_errors(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no data for the inputs"):
        export_tflite(program, tmp_path / "net.tflite", {})
    network = LiteRtNetwork(build_model(with_integer_heads(program, build.batch())).content())
    with pytest.raises(DataError, match=r"cannot run on inputs .*\(1, 4, 9, 9\)"):
        network.run({"x0": np.zeros((1, 4, 9, 9))})
    with pytest.raises(DataError, match="cannot run on inputs"):
        network.run({"y": np.zeros((1, 4, 8, 8))})


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_damaged_or_missing_file_is_an_artifact_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "net.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"LiteRT cannot load .*net\.tflite"):
        LiteRtNetwork(path)


@pytest.mark.parametrize("module", ["flatbuffers", "ai_edge_litert.interpreter"])
def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
    program: IntegerProgram,
    build: Builder,
    tmp_path: Path,
    module: str,
) -> None:
    for name in [name for name in sys.modules if name.startswith("sigmaquant.export.tflite.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sigmaquant-edge\[tflite\]'"):
        export_tflite(program, tmp_path / "net.tflite", build.batch())
    assert list(tmp_path.iterdir()) == []


def test_sums_and_tables_and_averages_keep_their_tolerance(build: Builder, tmp_path: Path) -> None:
    """All other operators that compute, on a value of a width of its own."""
    value = build.quantize(build.input((4, 8, 8)))
    total = build.add(value, build.lookup(value))
    pooled = build.average_pool(total, 3, 1, (1, 1))
    program = build.program(build.dequantize(build.clamp(pooled)))
    result = export_tflite(program, tmp_path / "net.tflite", build.batch(8))
    steps = result.largest_steps
    assert steps["XNNPACK AveragePool"] == steps["XNNPACK Lookup"] == 0
    assert steps["built-in Lookup"] == steps["built-in Clamp"] == 0
    assert steps["built-in AveragePool"] <= 1


def test_activations_of_few_bits_are_limited(build: Builder, tmp_path: Path) -> None:
    value = build.quantize(build.input((4, 8, 8)))
    encoding = Encoding(0.05, 3, 5)
    build.values[value] = Value(value, (4, 8, 8), encoding)
    program = build.program(build.dequantize(value))
    inputs = {"x0": np.full((1, 4, 8, 8), 100, np.float32)}
    result = export_tflite(program, tmp_path / "net.tflite", inputs)
    assert result.kernels["MINIMUM"] == 1
    (output,) = LiteRtNetwork(tmp_path / "net.tflite").run(inputs).values()
    assert np.allclose(output, 0.05 * (31 - 3))
