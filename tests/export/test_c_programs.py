"""Every value of a program in C against the reference, built with sanitizers."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigmaquant.export.c.compiler import STRICT, Compiler, find_compiler, run_program
from sigmaquant.export.c.folder import flat_samples, resource, write_files
from sigmaquant.export.c.model import Model, build_model
from sigmaquant.export.c.tails import TAIL_TOLERANCE
from sigmaquant.export.c.values import stored_values
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import Encoding, FloatOperator, IntegerProgram, Value
from sigmaquant.lowering.reference import run_reference, trace_reference

Builder = Any
Batch = dict[str, np.ndarray]
Check = Callable[..., None]

KINDS_AND_WIDTHS = [
    *itertools.product(("dot", "dot_one"), WIDTHS),
    *(("widen", bits) for bits in WIDTHS if bits < 8),
]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def sanitized(compiler: Compiler, folder: Path) -> Compiler:
    """The compiler with the sanitizers that it has."""
    main = folder / "empty.c"
    main.write_text("int main(void) { return 0; }\n")
    command = [*compiler.command, *SANITIZERS, main, "-o", folder / "empty"]
    works = run_program(command).returncode == 0 and not run_program([folder / "empty"]).returncode
    return Compiler(compiler.command, SANITIZERS if works else ())


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    found = find_compiler()
    if found is None:
        pytest.skip("no C compiler here")
    return sanitized(found, tmp_path_factory.mktemp("sanitizers"))


@pytest.fixture(scope="module")
def kernels(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All kernels, compiled once."""
    folder = tmp_path_factory.mktemp("kernels")
    sources = sorted((Path(inspect.getfile(build_model)).parent / "kernels").glob("*.c"))
    include = Compiler(compiler.command, (*compiler.flags, f"-I{sources[0].parent}"))
    for kind, bits in KINDS_AND_WIDTHS:
        sources.append(folder / f"sq_{kind}_w{bits}.c")
        sources[-1].write_text(f'#define SQ_BITS {bits}\n#include "sq_{kind}_template.h"\n')
    return include.objects(sources, folder)


def bits_of(values: np.ndarray) -> np.ndarray:
    """Floats as their bits, so that 0 and -0 differ."""
    return np.ascontiguousarray(values).view(f"u{values.itemsize}")


def compare(model: Model, program: IntegerProgram, batch: Batch, streamed: bytes) -> None:
    """Compare every step that a program has written, and its outputs, bit for bit."""
    expected = trace_reference(program, batch)
    raw = np.frombuffer(streamed, np.uint8).reshape(len(next(iter(batch.values()))), -1)
    start = 0
    for call in model.plan.calls:
        stored = stored_values(raw[:, start : start + call.output.bytes], call.output)
        start += call.output.bytes
        wanted = expected[call.output.value.name].reshape(stored.shape)
        assert stored.dtype == wanted.dtype
        if isinstance(call.operator, FloatOperator):
            assert np.abs(stored - wanted).max() <= TAIL_TOLERANCE
        else:
            assert np.array_equal(bits_of(stored), bits_of(wanted)), call.operator.name
    outputs = np.ascontiguousarray(raw[:, start:]).view(np.float32)
    wanted = flat_samples(expected, list(program.outputs))
    assert np.abs(outputs - wanted).max() <= model.manifest.tolerance


def streamed(program: list[str | Path], inputs: IntegerProgram, batch: Batch) -> bytes:
    """What a program writes for the samples."""
    ended = run_program(program, flat_samples(batch, list(inputs.inputs)).tobytes())
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout


def write_library(model: Model, program: IntegerProgram, batch: Batch, folder: Path) -> Path:
    """The library's files, and the program that streams its steps."""
    write_files(model, folder, batch, run_reference(program, batch))
    main = folder / "stream.c"
    main.write_text(resource("host", "stream.c"))
    return main


@pytest.fixture
def check(compiler: Compiler, kernels: list[Path], tmp_path: Path) -> Check:
    """Compare every step of a program, and its outputs, bit for bit."""

    def check_program(program: IntegerProgram, batch: Batch, weight_scratch_bytes: int = 0) -> None:
        model = build_model(program, weight_scratch_bytes)
        main = write_library(model, program, batch, tmp_path)
        compiler.program(main, kernels, tmp_path / "trace", f"-I{tmp_path}", "-DSTREAM_STEPS")
        compare(model, program, batch, streamed([tmp_path / "trace"], program, batch))

    return check_program


RANDOM_NETWORKS = 100
_SCRATCH_BYTES = (0, 600, 1 << 16)  # for no layer, for some, for all


@dataclass(frozen=True)
class RandomNetworks:
    """One program that runs each of many networks."""

    program: Path
    models: list[Model]
    cases: list[tuple[IntegerProgram, Batch]]


@pytest.fixture(scope="module")
def random_networks(
    compiler: Compiler,
    kernels: list[Path],
    random_case: Callable[..., tuple[IntegerProgram, Batch]],
    tmp_path_factory: pytest.TempPathFactory,
) -> RandomNetworks:
    """Compiled without optimisation, which only the kernels need, and linked once."""
    root = tmp_path_factory.mktemp("networks")
    models, cases, sources = [], [], []
    for seed in range(RANDOM_NETWORKS):
        program, batch = random_case(seed, WIDTHS if seed % 2 else ())
        models.append(build_model(program, _SCRATCH_BYTES[seed % len(_SCRATCH_BYTES)]))
        cases.append((program, batch))
        folder = root / f"network{seed}"
        folder.mkdir()
        write_library(models[-1], program, batch, folder)
        sources.append(root / f"stream{seed}.c")
        renamed = f"#define main main{seed}\n#define model_run model_run{seed}\n"
        sources[-1].write_text(f'{renamed}#include "network{seed}/stream.c"\n')
    quick = Compiler(compiler.command, (*compiler.flags, "-O0", "-DSTREAM_STEPS"))
    objects = quick.objects(sources, root)
    names = [f"main{seed}" for seed in range(RANDOM_NETWORKS)]
    main = root / "main.c"
    main.write_text(
        f"#include <stdlib.h>\nint {'(void), '.join(names)}(void);\n"
        f"static int (*const mains[])(void) = {{{', '.join(names)}}};\n"
        "int main(int count, char **arguments)\n"
        "{ return count < 2 ? 1 : mains[atoi(arguments[1])](); }\n"
    )
    compiler.program(main, [*objects, *kernels], root / "all")
    return RandomNetworks(root / "all", models, cases)


@pytest.mark.parametrize("seed", range(RANDOM_NETWORKS))
def test_random_networks(random_networks: RandomNetworks, seed: int) -> None:
    """Half of them with activations of random widths; with scratch for weights and without."""
    program, batch = random_networks.cases[seed]
    written = streamed([random_networks.program, str(seed)], program, batch)
    compare(random_networks.models[seed], program, batch, written)


def test_random_networks_have_all_there_is(random_networks: RandomNetworks) -> None:
    """All kernels of the library but a softmax's, and convolutions of every width."""
    used = set().union(*(model.manifest.kernels for model in random_networks.models))
    folder = Path(inspect.getfile(build_model)).parent / "kernels"
    declared = set(re.findall(r"^void (sq_\w+)\(", (folder / "sq_kernels.h").read_text(), re.M))
    assert declared - used <= {"sq_softmax"}
    widths = {pair for model in random_networks.models for pair in model.widths}
    assert {pair for pair in KINDS_AND_WIDTHS if pair[0] != "dot_one"} <= widths


@pytest.mark.parametrize("bits", WIDTHS)
def test_layers_of_every_width(builder: Callable[..., Builder], check: Check, bits: int) -> None:
    """Whole blocks, tails, odd numbers of rows and of places, one channel."""
    build = builder(bits)
    value = build.quantize(build.input((1, 9, 7)))
    value = build.convolution(value, 33, (3, 3), bits, stride=2, padding=((1, 0), (0, 2)))
    value = build.convolution(value, 33, (3, 2), bits, groups=33, padding=((2, 1), (0, 1)))
    value = build.convolution(value, 5, (1, 1), bits)
    flat = build.reshape(value, (int(np.prod(build.shape(value))),))
    program = build.program(
        build.dequantize(build.linear(flat, 3, bits)), build.linear(flat, 4, bits, to_float=True)
    )
    check(program, build.batch(2))


@pytest.mark.parametrize("bits", [5, 6, 7])
def test_weights_are_unpacked_first_where_it_pays_and_they_fit(
    builder: Callable[..., Builder], check: Check, bits: int
) -> None:
    """Groups with an odd number of rows, whose length is no multiple of a block or of four."""
    build = builder(bits)
    value = build.convolution(build.quantize(build.input((15, 6, 5))), 9, bits=bits, groups=3)
    program = build.program(build.dequantize(value))
    size_bytes = 3 * 4 * 12  # a group's rows of 45, in words of four weights
    check(program, build.batch(2), size_bytes)
    widened = {("dot", 8), ("widen", bits)}
    assert set(build_model(program, size_bytes).widths) == widened
    assert set(build_model(program, size_bytes - 1).widths) == {("dot", bits), ("widen", bits)}
    model = build_model(program, 10 * size_bytes)
    assert model.manifest.scratch_bytes == size_bytes + 2 * 2 * 48  # and two gathered columns


@pytest.mark.parametrize(("bits", "channels", "size"), [(4, 6, 5), (8, 6, 5), (5, 6, 3), (5, 3, 5)])
def test_weights_are_left_packed_where_it_does_not_pay(
    builder: Callable[..., Builder], bits: int, channels: int, size: int
) -> None:
    """At other widths, for fewer than 16 places, and in rows of fewer than 32 weights."""
    build = builder(bits)
    value = build.convolution(build.quantize(build.input((channels, size, size))), 4, bits=bits)
    model = build_model(build.program(build.dequantize(value)), 1 << 16)
    assert model.widths == (("dot", bits),)


def test_grouped_and_dilated_convolutions(builder: Callable[..., Builder], check: Check) -> None:
    build = builder(3)
    value = build.quantize(build.input((6, 11, 10)))
    value = build.convolution(value, 9, (3, 3), 5, groups=3, dilation=2)
    value = build.convolution(value, 18, (3, 3), 4, groups=9, dilation=2, padding=((3, 2), (1, 2)))
    value = build.convolution(value, 4, (2, 5), 3, stride=3)
    check(build.program(build.dequantize(value)), build.batch(2))


def test_sequences(builder: Callable[..., Builder], check: Check) -> None:
    build = builder(4)
    value = build.quantize(build.input((3, 20)))
    value = build.convolution(value, 8, (5,), 6, stride=2)
    value = build.convolution(value, 8, (3,), 2, groups=8)
    value = build.max_pool(value, 3, 2, (1, 1), ceil_mode=True)
    tokens = build.permute(value, (1, 0))
    check(build.program(build.linear(tokens, 7, 4, to_float=True)), build.batch(3))


def test_windows_at_the_edge(builder: Callable[..., Builder], check: Check) -> None:
    build = builder(5)
    value = build.quantize(build.input((3, 7, 5)))
    largest = build.max_pool(value, 3, 2, (1, 1), ceil_mode=True)
    mean = build.average_pool(value, 3, 1, (1, 2))
    whole = build.global_average(value)
    outputs = [build.dequantize(each) for each in (largest, mean, whole)]
    check(build.program(*outputs), build.batch(2))


def test_moves(builder: Callable[..., Builder], check: Check) -> None:
    """Views that a copy can follow, and one that takes two."""
    build = builder(6)
    value = build.convolution(build.quantize(build.input((6, 2, 4))), 6, bits=4)
    cut = build.slice(build.pad(value, ((0, 0), (2, 1), (0, 3))), 1, 1, 5, 2)
    joined = build.concat(cut, cut, axis=2)
    turned = build.permute(joined, (2, 0, 1))
    # No axis can be cut at both 6 x 8 and 16 x 3 channels.
    folded = build.convolution(build.reshape(value, (16, 3)), 4, (3,), 4)
    layers = build.convolution(turned, 3, bits=5)
    outputs = [build.dequantize(each) for each in (turned, folded, layers)]
    check(build.program(*outputs), build.batch(2))


def test_two_inputs_and_a_value_that_is_read_often(
    builder: Callable[..., Builder], check: Check
) -> None:
    build = builder(7, activation_bits=4)
    left, right = (build.quantize(build.input(shape)) for shape in ((4, 5, 5), (4, 5, 5)))
    total = build.add(build.clamp(left), build.convolution(right, 4, bits=3))
    twice = build.add(total, total)
    outputs = build.dequantize(twice), build.dequantize(build.lookup(total))
    check(build.program(*outputs), build.batch(3))


@pytest.mark.parametrize("logits_too", [False, True])
@pytest.mark.parametrize("gain", [0.01, 1, 100])
def test_softmax_of_near_and_far_logits(
    builder: Callable[..., Builder], check: Check, gain: float, logits_too: bool
) -> None:
    """Row by row, over its input or beside it."""
    build = builder(13)
    logits = build.linear(build.quantize(build.input((3, 9))), 21, to_float=True)
    weights = build.operators[-1].weights
    scales = (gain * weights.scales).astype(np.float32)
    wider = type(weights)("wider", 8, weights.values, scales)
    object.__setattr__(build.operators[-1], "weights", wider)
    result = build.float_operator("aten.softmax.int", logits, -1)
    check(build.program(*([logits] if logits_too else []), result), build.batch(4))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_packed_values_that_begin_inside_a_byte(
    builder: Callable[..., Builder], check: Check, bits: int
) -> None:
    """Odd numbers of channels, groups, parts and lines, and windows at the edge."""
    build = builder(bits, activation_bits=bits)
    value = build.quantize(build.input((3, 7, 5)))
    grouped = build.convolution(value, 9, (3, 3), groups=3, dilation=2, padding=((3, 2), (1, 2)))
    each = build.convolution(grouped, 9, (3, 3), 4, groups=9, stride=2)
    parts = build.concat(each, build.clamp(each), axis=2)
    cut = build.slice(build.pad(parts, ((0, 0), (1, 1), (2, 1))), 2, 1, 8, 2)
    turned = build.permute(cut, (2, 1, 0))
    largest = build.max_pool(turned, 3, 1, (1, 1))
    mean = build.average_pool(largest, 2, 1, (0, 1))
    flat = build.reshape(mean, (int(np.prod(build.shape(mean))),))
    outputs = [build.dequantize(each) for each in (grouped, cut, largest)]
    check(build.program(*outputs, build.linear(flat, 5, 3, to_float=True)), build.batch(2))


@pytest.mark.parametrize(
    "widths", [(2, 2, 2), (4, 4, 2), (2, 4, 8), (8, 2, 4), (8, 8, 4), (4, 8, 8), (4, 4, 8)]
)
def test_sums_and_tables_between_widths(
    builder: Callable[..., Builder], check: Check, widths: tuple[int, int, int]
) -> None:
    """In place where they may, over more elements than a block holds."""
    build = builder(11)
    tables = []
    for bits in widths[:2]:
        build.activation_bits = (bits,)
        tables.append(build.lookup(build.quantize(build.input((5, 7, 3)))))
    build.activation_bits = (widths[2],)
    total = build.add(*tables)
    build.activation_bits = (widths[0],)
    check(build.program(build.dequantize(build.lookup(total))), build.batch(2))


def test_bytes_are_written_without_the_kernels_for_packed_values(
    builder: Callable[..., Builder],
) -> None:
    """And a clamp of packed values is a small table."""

    def kernels(bits: int) -> set[str]:
        build = builder(12, activation_bits=bits)
        value = build.quantize(build.input((4, 4)))
        joined = build.concat(build.clamp(value), build.lookup(build.add(value, value)))
        return set(build_model(build.program(build.dequantize(joined))).manifest.kernels)

    moves = {"sq_quantize", "sq_dequantize"}
    assert kernels(5) == moves | {"sq_add", "sq_clamp", "sq_look_up", "sq_copy"}
    assert kernels(4) == moves | {"sq_add_packed", "sq_look_up_packed", "sq_copy_packed"}


@pytest.mark.parametrize(("bits", "packs"), [(8, False), (5, False), (4, True)])
def test_only_a_library_with_packed_values_has_code_for_them(
    builder: Callable[..., Builder], tmp_path: Path, bits: int, packs: bool
) -> None:
    build = builder(12, activation_bits=bits)
    program = build.program(build.dequantize(build.quantize(build.input((4, 4)))))
    write_library(build_model(program), program, build.batch(1), tmp_path)
    header = (tmp_path / "kernels" / "sq_values.h").read_text()
    assert header.startswith("#define SQ_PACKED_VALUES 0\n") is not packs


def test_multipliers_of_every_size(builder: Callable[..., Builder], check: Check) -> None:
    """From results that all round to 0 to results that all are limited."""
    build = builder(8)
    value = build.quantize(build.input((40,)))
    weights = build.weights((61, 40), 8)
    scales = (2.0 ** np.arange(-40, 21)).astype(np.float32)
    linear = build.linear(value, 61, 8)
    operator = build.operators[-1]
    object.__setattr__(operator, "weights", type(weights)("wide", 8, weights.values, scales))
    object.__setattr__(operator, "bias", np.arange(61, dtype=np.int32) - 30)
    check(build.program(build.dequantize(linear)), build.batch(4))


@pytest.mark.parametrize(("gain", "lift"), [(0.3, 0), (1.5, 2), (40.0, 7), (1e5, -1)])
@pytest.mark.parametrize("channels", [4, 7])
def test_accumulators_are_lifted_for_multipliers_of_a_half_and_more(
    builder: Callable[..., Builder], check: Check, gain: float, lift: int, channels: int
) -> None:
    """As far as they have room."""
    build = builder(10, activation_bits=8)
    value = build.quantize(build.input((channels, 5, 5)))
    value = build.convolution(value, channels, groups=channels)
    value = build.convolution(value, 9)
    for operator in build.operators[-2:]:
        weights, output = operator.weights, build.values[operator.output].encoding
        source = build.values[operator.inputs[0]].encoding
        scales = np.full(len(weights.scales), gain * output.scale / source.scale, np.float32)
        scaled = type(weights)(weights.layer, weights.bits, weights.values, scales)
        object.__setattr__(operator, "weights", scaled)
    program = build.program(build.dequantize(value))
    ranges = re.findall(r"range = \{\d+, 255, 8, (-?\d+)\}", build_model(program).source)
    assert ranges == [str(lift)] * 2
    check(program, build.batch(3))


def test_inputs_beyond_the_range(builder: Callable[..., Builder], check: Check) -> None:
    build = builder(9)
    value = build.quantize(build.input((8,)))
    scale = build.values[value].encoding.scale
    batch = np.float32([[np.inf, -np.inf, 1e30, -1e30, 0.5 * scale, 1.5 * scale, -0.0, 1e-40]])
    check(build.program(build.dequantize(value)), {"x0": batch})


def ties(random: np.random.Generator, multiplier: np.float32, count: int) -> np.ndarray:
    """Accumulators whose products with the multiplier lie next to halves."""
    halves = random.integers(-400, 400, count) + 0.5
    nearest = np.rint(halves / np.float64(multiplier)) + random.integers(-2, 3, count)
    return np.clip(nearest, -(2**31), 2**31 - 1).astype(np.int32)


@pytest.mark.parametrize("exponent", [-30, -22, -12, -8, -3, -2, 0])
def test_requantization_at_ties(
    builder: Callable[..., Builder], check: Check, exponent: int
) -> None:
    """Weights of zero leave the bias, which can be any accumulator."""
    random = np.random.default_rng(exponent + 40)
    build = builder(10)
    value = build.quantize(build.input((2,)))
    build.values[value] = Value(value, (2,), Encoding(1.0, 7, 8))
    mantissa = np.float32(random.uniform(1, 2))
    multiplier = mantissa * np.float32(2.0**exponent)
    output = build.linear(value, 512, 8)
    build.values[output] = Value(output, (512,), Encoding(1.0, 100, 8))
    weights = build.operators[-1].weights
    plain = type(weights)(
        "plain", 8, np.zeros((512, 2), np.int8), np.full(512, multiplier, np.float32)
    )
    object.__setattr__(build.operators[-1], "weights", plain)
    object.__setattr__(build.operators[-1], "bias", ties(random, multiplier, 512))
    check(build.program(build.dequantize(output)), build.batch(1))


def test_the_kernels_compile_without_a_warning(kernels: list[Path]) -> None:
    assert {"-Wall", "-Wextra", "-Werror", "-Wconversion"} <= set(STRICT)
    assert len(kernels) > 2 * len(WIDTHS)
