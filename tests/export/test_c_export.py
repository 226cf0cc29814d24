"""The whole way to a folder that has proven itself, and what stops it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sigmaquant as sq
from sigmaquant.costs import cost_table
from sigmaquant.demo_network import DigitNet
from sigmaquant.devices import available_profiles
from sigmaquant.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    OutputError,
    UnsupportedError,
    VerificationError,
)
from sigmaquant.export import export_c
from sigmaquant.export.c.compiler import Compiler, find_compiler, run_program
from sigmaquant.export.c.folder import write_files
from sigmaquant.export.c.manifest import Manifest
from sigmaquant.export.c.model import build_model
from sigmaquant.export.c.runtime import CNetwork
from sigmaquant.export.c.tails import TAIL_TOLERANCE
from sigmaquant.export.c.verify import verify_c
from sigmaquant.export.formats import FormatOptions, format_named
from sigmaquant.layers import container_bits
from sigmaquant.lowering import lower, run_reference
from sigmaquant.lowering.program import IntegerProgram
from sigmaquant.network import Network
from sigmaquant.quantized import QuantizedNetwork

Builder = Any

HOST = find_compiler()
needs_compiler = pytest.mark.skipif(HOST is None, reason="no C compiler here")


@pytest.fixture
def build(builder: Callable[..., Builder]) -> Builder:
    return builder()


@pytest.fixture
def program(build: Builder) -> IntegerProgram:
    """Two convolutions of 3 and 8 bits, a sum, and a float head of 3 bits."""
    value = build.quantize(build.input((4, 6, 6)))
    first = build.convolution(value, 8, bits=3)
    second = build.convolution(first, 8, bits=8)
    pooled = build.global_average(build.add(first, second))
    return build.program(build.linear(pooled, 5, bits=3, to_float=True))


@pytest.fixture
def host() -> Compiler:
    if HOST is None:
        pytest.skip("no C compiler here")
    return HOST


def written(program: IntegerProgram, folder: Path, batch: dict[str, np.ndarray]) -> Path:
    """The program's folder, not verified."""
    folder.mkdir()
    write_files(build_model(program), folder, batch, run_reference(program, batch))
    return folder


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@needs_compiler
def test_a_folder_holds_what_the_network_uses(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    result = export_c(program, tmp_path / "net", build.batch(6))
    assert (result.samples, result.values, result.differing) == (6, 30, 0)
    assert result.verified
    assert result.exact
    assert result.kernels["sq_convolve"] == 2
    names = {file.name for file in (tmp_path / "net").rglob("*") if file.is_file()}
    assert {"model.c", "model.h", "check.c", "Makefile", "CMakeLists.txt"} <= names
    assert {"sq_dot_w3.c", "sq_dot_w8.c", "sq_add.c", "sq_average_pool.c"} <= names
    assert names.isdisjoint({"sq_dot_w4.c", "sq_max_pool.c", "sq_convolve_depthwise.c"})
    manifest = Manifest.load(tmp_path / "net" / "model.json")
    assert manifest.weight_bits == {w.layer: w.bits for w in program.weights}
    assert result.file_bytes == manifest.table_bytes
    assert result.ram_bytes == manifest.arena_bytes + manifest.scratch_bytes
    assert not list(tmp_path.glob(".net*"))


@needs_compiler
@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_the_makefile_builds_and_checks(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    export_c(program, tmp_path / "net", build.batch(3))
    ended = run_program(["make", "-C", tmp_path / "net", "check", "CFLAGS=-O0 -Werror"])
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"0 of 10 values differ" in ended.stdout
    # What make built does not stand in the way of a second export.
    assert export_c(program, tmp_path / "net", build.batch(3)).verified
    assert not (tmp_path / "net" / "model.o").exists()


def test_the_same_program_gives_the_same_text(program: IntegerProgram) -> None:
    assert build_model(program) == build_model(program)


def test_without_a_compiler_it_is_exported_and_says_so(
    program: IntegerProgram, build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    result = export_c(program, tmp_path / "net", build.batch(2))
    assert not result.verified
    assert result.samples == 0
    assert "no C compiler found" in result.runtime
    assert (tmp_path / "net" / "model.c").exists()
    with pytest.raises(ConfigError, match="a run needs one to measure the library"):
        format_named("c").check(program, build.batch(1), FormatOptions())


def test_the_compiler_can_be_named(monkeypatch: pytest.MonkeyPatch, host: Compiler) -> None:
    monkeypatch.setenv("CC", f"{host.command[0]} -pipe")
    assert find_compiler() == Compiler((host.command[0], "-pipe"))


@pytest.mark.parametrize(
    ("file", "old", "new", "operator"),
    [
        ("kernels/sq_add.c", "sum->constant;", "sum->constant + 40000;", "block.add3"),
        ("model.c", "sq_dot_w8", "sq_dot_w3", "block.convolution2"),
    ],
)
def test_the_first_wrong_operator_is_named(
    program: IntegerProgram,
    build: Builder,
    tmp_path: Path,
    host: Compiler,
    file: str,
    old: str,
    new: str,
    operator: str,
) -> None:
    batch = build.batch(2)
    folder = written(program, tmp_path / "net", batch)
    replace(folder / file, old, new)
    with pytest.raises(VerificationError, match=rf"{operator} \(\w+\) differs from the integer"):
        verify_c(folder, build_model(program), program, batch, host)


def test_a_library_that_does_not_compile(
    program: IntegerProgram, build: Builder, tmp_path: Path, host: Compiler
) -> None:
    folder = written(program, tmp_path / "net", build.batch(2))
    replace(folder / "kernels" / "sq_add.c", "sum->constant;", "sum->missing;")
    with pytest.raises(VerificationError, match=r"cannot compile the exported library: .*missing"):
        CNetwork(folder, host)


def test_a_library_that_crashes(
    program: IntegerProgram, build: Builder, tmp_path: Path, host: Compiler
) -> None:
    folder = written(program, tmp_path / "net", build.batch(2))
    replace(folder / "model.c", "(void)arena;", "extern void abort(void); abort();")
    with pytest.raises(VerificationError, match="the exported library crashed: code -"):
        CNetwork(folder, host).run(build.batch(2))


def test_a_check_with_other_results_does_not_pass(
    program: IntegerProgram, build: Builder, tmp_path: Path, host: Compiler
) -> None:
    batch = build.batch(2)
    folder = written(program, tmp_path / "net", batch)
    replace(folder / "check_vectors.h", "check_outputs[CHECK_SAMPLES]", "check_others[2]")
    zeros = "static const uint32_t check_outputs[2][CHECK_OUTPUT_FLOATS] = {{0}, {0}};\n"
    text = (folder / "check_vectors.h").read_text()
    start = text.index("static const uint32_t check_others")
    (folder / "check_vectors.h").write_text(text[:start] + zeros)
    with pytest.raises(VerificationError, match=r"check\.c finds differences"):
        verify_c(folder, build_model(program), program, batch, host)


def test_a_folder_of_someone_else_is_kept(
    program: IntegerProgram, build: Builder, tmp_path: Path
) -> None:
    mine = tmp_path / "net" / "main.c"
    mine.parent.mkdir()
    mine.write_text("int main(void) { return 0; }\n")
    with pytest.raises(OutputError, match=r"holds files that no export wrote, such as main\.c"):
        export_c(program, tmp_path / "net", build.batch(2))
    assert mine.exists()


def test_a_file_in_the_way(program: IntegerProgram, build: Builder, tmp_path: Path) -> None:
    (tmp_path / "net").write_text("")
    with pytest.raises(OutputError, match="is a file; a C library needs a folder"):
        export_c(program, tmp_path / "net", build.batch(2))
    with pytest.raises(OutputError, match="cannot write"):
        export_c(program, tmp_path / "net" / "inner", build.batch(2))


def test_a_folder_that_is_no_library(tmp_path: Path, host: Compiler) -> None:
    with pytest.raises(ArtifactError, match=r"model\.json"):
        CNetwork(tmp_path, host)


def test_inputs_that_do_not_fit(program: IntegerProgram, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected \(batch"):
        export_c(program, tmp_path / "net", {"x0": np.zeros((2, 3), np.float32)})


def test_products_of_two_activations_are_refused(build: Builder) -> None:
    left, right = (build.quantize(build.input(shape)) for shape in ((3, 4), (4, 2)))
    program = build.program(build.dequantize(build.matmul(left, right)))
    with pytest.raises(UnsupportedError, match="matmul2 multiplies two activations"):
        build_model(program)


def test_float_operators_are_refused_by_name(build: Builder) -> None:
    head = build.linear(build.quantize(build.input((6,))), 4, to_float=True)
    sigmoid = build.float_operator("aten.sigmoid.default", head)
    with pytest.raises(UnsupportedError, match=r"operator2 \(aten\.sigmoid\.default\) stays in"):
        build_model(build.program(sigmoid))


@needs_compiler
def test_a_softmax_at_the_end_agrees_to_a_tolerance(build: Builder, tmp_path: Path) -> None:
    head = build.linear(build.quantize(build.input((6,))), 40, to_float=True)
    program = build.program(build.float_operator("aten.softmax.int", head, -1))
    result = export_c(program, tmp_path / "net", build.batch(5))
    assert result.verified
    assert not result.exact
    assert result.largest_difference <= TAIL_TOLERANCE
    assert result.ram_bytes == 8 + 16  # the sums lie in the caller's output
    header = (tmp_path / "net" / "check_vectors.h").read_text()
    assert "#define CHECK_TOLERANCE 9.99999975e-06f" in header


def test_a_softmax_that_is_wrong_is_named(build: Builder, tmp_path: Path, host: Compiler) -> None:
    head = build.linear(build.quantize(build.input((6,))), 4, to_float=True)
    program = build.program(build.float_operator("aten.softmax.int", head, -1))
    batch = build.batch(2)
    folder = written(program, tmp_path / "net", batch)
    replace(folder / "kernels" / "sq_softmax.c", "/= sum;", "/= sum + 1.0f;")
    with pytest.raises(VerificationError, match=r"operator2 \(FloatOperator\) differs from the"):
        verify_c(folder, build_model(program), program, batch, host)


def test_a_softmax_elsewhere_is_refused(build: Builder) -> None:
    value = build.quantize(build.input((3, 6)))
    head = build.linear(value, 4, to_float=True)
    columns = build.float_operator("aten.softmax.int", head, 1)
    with pytest.raises(UnsupportedError, match="works along another dimension than the last"):
        build_model(build.program(columns))
    build.operators.pop()
    inner = build.float_operator("aten.softmax.int", head, 2)
    twice = build.float_operator("aten.softmax.int", inner, 2)
    with pytest.raises(UnsupportedError, match="is not the last operator behind a layer"):
        build_model(build.program(twice))
    build.operators.pop()
    other = build.float_operator("aten.softmax.int", head, 2)
    with pytest.raises(UnsupportedError, match="is not the only reader of its input"):
        build_model(build.program(inner, other))


def test_other_operators_that_have_no_kernel(build: Builder) -> None:
    volume = build.quantize(build.input((2, 4, 4, 4)))
    convolved = build.convolution(volume, 3, (3, 3, 3))
    with pytest.raises(UnsupportedError, match="3 spatial dimensions; C takes 1 and 2"):
        build_model(build.program(build.dequantize(convolved)))


def test_an_output_that_is_an_input(build: Builder) -> None:
    build.input((3,))
    with pytest.raises(UnsupportedError, match="output 'x0' is an input as it is"):
        build_model(build.program("x0"))


def test_float_values_are_not_moved(build: Builder) -> None:
    head = build.linear(build.quantize(build.input((6,))), 4, to_float=True)
    with pytest.raises(UnsupportedError, match=r"\(Reshape\) works on the float value"):
        build_model(build.program(build.reshape(head, (2, 2))))


def test_names_that_c_cannot_have(build: Builder) -> None:
    value = build.quantize(build.value("net/x*/.0", (3,), None))
    build.inputs = ["net/x*/.0"]
    header = build_model(build.program(build.dequantize(value))).header
    assert "const float *input_net_x___0" in header


@pytest.fixture(scope="module")
def digits() -> tuple[Network, QuantizedNetwork, torch.Tensor]:
    """The demo's network at mixed widths, untrained, on pictures of noise."""
    torch.manual_seed(1)
    images = torch.randn(32, 1, 16, 16)
    model = DigitNet()
    model(images)  # statistics for the batch norms
    network = sq.capture(model.eval(), images)
    widths = {layer.name: 2 + i % 7 for i, layer in enumerate(network.table.layers)}
    plan = sq.BitPlan.uniform(network.table, 8).model_copy(update={"weight_bits": widths})
    return network, sq.quantize(network, plan, [images], rounding="nearest"), images


@needs_compiler
def test_digits_at_mixed_widths(
    digits: tuple[Network, QuantizedNetwork, torch.Tensor], tmp_path: Path
) -> None:
    _, quantized, images = digits
    program = lower(quantized)
    result = export_c(program, tmp_path / "digits", {program.inputs[0]: images.numpy()})
    assert (result.samples, result.values, result.differing) == (32, 320, 0)
    opened = format_named("c").open(tmp_path / "digits")
    assert np.array_equal(
        opened(images[:3].numpy())[0],
        run_reference(program, {program.inputs[0]: images[:3]})[program.outputs[0]],
    )


def test_memory_is_what_the_cost_table_promises(
    digits: tuple[Network, QuantizedNetwork, torch.Tensor],
) -> None:
    network, quantized, _ = digits
    profile = sq.load_profile("cortex-m4")
    costs = cost_table(network.table, profile).totals(quantized.plan)
    manifest = build_model(lower(quantized)).manifest
    assert manifest.arena_bytes == costs["peak_ram_bytes"] - profile.reserve.ram_bytes
    assert costs["flash_bytes"] <= manifest.table_bytes <= 1.03 * costs["flash_bytes"]


OWN_STACK = "the C export:"
OWN_PROFILES = [
    name for name in available_profiles() if sq.load_profile(name).stack.startswith(OWN_STACK)
]


@pytest.mark.parametrize("name", OWN_PROFILES)
def test_profiles_of_the_library_count_the_bits_that_it_stores(name: str) -> None:
    stored = sq.load_profile(name).activation_storage.bits
    assert stored == {width: container_bits(width) for width in stored}


def test_manifest_is_plain_json(program: IntegerProgram, build: Builder, tmp_path: Path) -> None:
    folder = written(program, tmp_path / "net", build.batch(2))
    content = json.loads((folder / "model.json").read_text())
    assert content["inputs"] == [{"name": "x0", "shape": [4, 6, 6]}]
    assert content["outputs"][0]["shape"] == [5]
