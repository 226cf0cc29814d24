"""Random integer programs, built operator by operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigmaquant.lowering.program import (
    Add,
    Argument,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Linear,
    Lookup,
    MatMul,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Quantize,
    Reshape,
    Slice,
    Value,
    Weights,
)
from sigmaquant.lowering.reference import run_reference
from sigmaquant.quantizers import level_bounds

FRACTION_BITS = 14


class ProgramBuilder:
    """Appends operators with random weights and encodings; methods return the new value's name.

    Encodings have ``activation_bits``; where several are given, each encoding draws its own.
    """

    def __init__(self, seed: int = 0, activation_bits: int | tuple[int, ...] = 8) -> None:
        self.random = np.random.default_rng(seed)
        self.activation_bits = activation_bits
        self.values: dict[str, Value] = {}
        self.operators: list[Operator] = []
        self.inputs: list[str] = []

    def program(self, *outputs: str) -> IntegerProgram:
        return IntegerProgram(
            "Net", self.values, tuple(self.operators), tuple(self.inputs), outputs
        )

    def batch(self, samples: int = 3) -> dict[str, np.ndarray]:
        return {
            name: self.random.normal(size=(samples, *self.values[name].shape)).astype(np.float32)
            for name in self.inputs
        }

    def encoding(self, reach: float = 3.0) -> Encoding:
        """Covers about -reach .. reach, with a random zero point near the middle.

        All scales are multiples of 2^-14 of one number with a short mantissa, which is the scale
        of every sum: so any two values can be added exactly.
        """
        bits, mixed = self.width()
        levels = 2**bits
        zero_point = int(self.random.integers(levels // 4, 3 * levels // 4))
        multiple = int(reach / 3 * self.random.uniform(0.8, 1.2) * 2**FRACTION_BITS)
        if mixed:  # so that a sum of 2 bits can have summands of 8
            multiple &= -(2**6)
        scale = self.sum_scale(bits) * multiple / 2**FRACTION_BITS
        return Encoding(float(np.float32(scale)), zero_point, bits)

    def width(self) -> tuple[int, bool]:
        """Of the next encoding, and whether others have another one."""
        if isinstance(self.activation_bits, int):
            return self.activation_bits, False
        return int(self.random.choice(self.activation_bits)), True

    def sum_scale(self, bits: int) -> float:
        return 193 / 32 / 2**bits

    def value(self, name: str, shape: tuple[int, ...], encoding: Encoding | None) -> str:
        self.values[name] = Value(name, shape, encoding)
        return name

    def new(self, kind: str) -> tuple[str, str]:
        """Names of the next operator and of its output."""
        name = f"block.{kind}{len(self.operators)}"
        return name, f"{name}.out"

    def shape(self, value: str) -> tuple[int, ...]:
        return self.values[value].shape

    def append(
        self,
        kind: type[Operator],
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        encoding: Encoding | None,
        **fields: Any,
    ) -> str:
        name, output = self.new(kind.__name__.lower())
        self.operators.append(kind(name, inputs, output, **fields))
        return self.value(output, shape, encoding)

    def input(self, shape: tuple[int, ...]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        return self.value(name, shape, None)

    def quantize(self, source: str) -> str:
        return self.append(Quantize, (source,), self.shape(source), self.encoding())

    def dequantize(self, source: str) -> str:
        return self.append(Dequantize, (source,), self.shape(source), None)

    def weights(self, shape: tuple[int, ...], bits: int) -> Weights:
        low, high = level_bounds(bits)
        values = self.random.integers(low, high, shape, endpoint=True).astype(np.int8)
        gain = 1 / ((high + 1) * math.sqrt(math.prod(shape[1:])))
        scales = (gain * self.random.uniform(0.5, 1.5, shape[0])).astype(np.float32)
        return Weights(f"layer{len(self.operators)}", bits, values, scales)

    def bias(self, source: str, weights: Weights) -> np.ndarray:
        unit = self.values[source].encoding.scale * weights.scales  # type: ignore[union-attr]
        return np.rint(self.random.normal(size=unit.shape) / unit).astype(np.int32)

    def convolution(
        self,
        source: str,
        out: int,
        kernel: tuple[int, ...] = (3, 3),
        bits: int = 8,
        stride: int = 1,
        padding: tuple[tuple[int, int], ...] | None = None,
        dilation: int = 1,
        groups: int = 1,
        weights: Weights | None = None,
    ) -> str:
        channels, *spatial = self.shape(source)
        padding = ((k // 2, k // 2) for k in kernel) if padding is None else padding  # type: ignore[assignment]
        padding = tuple(padding)  # type: ignore[arg-type]
        weights = weights or self.weights((out, channels // groups, *kernel), bits)
        sizes = tuple(
            (size + sum(pad) - (k - 1) * dilation - 1) // stride + 1
            for size, k, pad in zip(spatial, kernel, padding, strict=True)
        )
        return self.append(
            Convolution,
            (source,),
            (out, *sizes),
            self.encoding(),
            weights=weights,
            bias=self.bias(source, weights),
            stride=(stride,) * len(kernel),
            padding=padding,
            dilation=(dilation,) * len(kernel),
            groups=groups,
        )

    def linear(self, source: str, out: int, bits: int = 8, to_float: bool = False) -> str:
        *leading, features = self.shape(source)
        weights = self.weights((out, features), bits)
        encoding = None if to_float else self.encoding()
        bias = self.bias(source, weights)
        shape = (*leading, out)
        return self.append(Linear, (source,), shape, encoding, weights=weights, bias=bias)

    def matmul(self, left: str, right: str) -> str:
        shape = (*self.shape(left)[:-1], self.shape(right)[-1])
        reach = 3 * math.sqrt(self.shape(left)[-1])
        return self.append(MatMul, (left, right), shape, self.encoding(reach))

    def float_operator(self, target: str, source: str, *arguments: Any) -> str:
        return self.append(
            FloatOperator,
            (source,),
            self.shape(source),
            None,
            target=target,
            arguments=(Argument(0), *arguments),
            keywords={},
        )

    def add(self, left: str, right: str) -> str:
        drawn = self.encoding()
        encoding = Encoding(self.sum_scale(drawn.bits), drawn.zero_point, drawn.bits)
        shape = self.shape(left)
        return self.append(Add, (left, right), shape, encoding, fraction_bits=FRACTION_BITS)

    def global_average(self, source: str, keepdim: bool = False) -> str:
        channels, *spatial = self.shape(source)
        shape = (channels, *(1 for _ in spatial)) if keepdim else (channels,)
        return self.append(GlobalAverage, (source,), shape, self.encoding(1.0), keepdim=keepdim)

    def pooled_shape(
        self, source: str, kernel: int, stride: int, padding: tuple[int, int], ceil: bool = False
    ) -> tuple[int, ...]:
        channels, *spatial = self.shape(source)
        extra = stride - 1 if ceil else 0
        sizes = []
        for size in spatial:
            count = (size + sum(padding) - kernel + extra) // stride + 1
            # PyTorch drops a window that would begin in the padding behind the input.
            sizes.append(count - (ceil and (count - 1) * stride >= size + padding[0]))
        return (channels, *sizes)

    def average_pool(
        self, source: str, kernel: int = 2, stride: int = 2, padding: tuple[int, int] = (0, 0)
    ) -> str:
        rank = len(self.shape(source)) - 1
        return self.append(
            AveragePool,
            (source,),
            self.pooled_shape(source, kernel, stride, padding),
            self.encoding(1.5),
            kernel=(kernel,) * rank,
            stride=(stride,) * rank,
            padding=(padding,) * rank,
        )

    def max_pool(
        self,
        source: str,
        kernel: int = 2,
        stride: int = 2,
        padding: tuple[int, int] = (0, 0),
        ceil_mode: bool = False,
    ) -> str:
        rank = len(self.shape(source)) - 1
        return self.append(
            MaxPool,
            (source,),
            self.pooled_shape(source, kernel, stride, padding, ceil_mode),
            self.values[source].encoding,
            kernel=(kernel,) * rank,
            stride=(stride,) * rank,
            padding=(padding,) * rank,
            dilation=(1,) * rank,
            ceil_mode=ceil_mode,
        )

    def same(self, kind: type[Operator], source: str, shape: tuple[int, ...], **fields: Any) -> str:
        return self.append(kind, (source,), shape, self.values[source].encoding, **fields)

    def clamp(self, source: str) -> str:
        encoding = self.values[source].encoding
        assert encoding is not None
        low, high = encoding.zero_point, encoding.highest - encoding.highest // 8
        return self.same(Clamp, source, self.shape(source), low=low, high=max(low, high))

    def lookup(self, source: str) -> str:
        encoding = self.values[source].encoding
        assert encoding is not None
        output = self.encoding()
        table = self.random.integers(0, output.highest + 1, encoding.highest + 1).astype(np.uint8)
        return self.append(
            Lookup, (source,), self.shape(source), output, table=table, function="random"
        )

    def pad(self, source: str, padding: tuple[tuple[int, int], ...]) -> str:
        shape = tuple(s + sum(p) for s, p in zip(self.shape(source), padding, strict=True))
        return self.same(Pad, source, shape, padding=padding)

    def concat(self, *sources: str, axis: int = 0) -> str:
        shape = list(self.shape(sources[0]))
        shape[axis] = sum(self.shape(source)[axis] for source in sources)
        encoding = self.values[sources[0]].encoding
        return self.append(Concat, sources, tuple(shape), encoding, axis=axis)

    def reshape(self, source: str, shape: tuple[int, ...]) -> str:
        return self.same(Reshape, source, shape)

    def permute(self, source: str, order: tuple[int, ...]) -> str:
        shape = tuple(self.shape(source)[axis] for axis in order)
        return self.same(Permute, source, shape, order=order)

    def slice(self, source: str, axis: int, start: int, stop: int, step: int) -> str:
        shape = list(self.shape(source))
        shape[axis] = len(range(*slice(start, stop, step).indices(shape[axis])))
        return self.same(
            Slice,
            source,
            tuple(shape),
            axes=(axis,),
            starts=(start,),
            stops=(stop,),
            steps=(step,),
        )


@pytest.fixture
def builder() -> Callable[..., ProgramBuilder]:
    return ProgramBuilder


def random_program(
    seed: int, activation_bits: tuple[int, ...] = ()
) -> tuple[IntegerProgram, dict[str, np.ndarray]]:
    """A network of 4 to 8 random operators on an image or a sequence, and a batch for it.

    Without widths for its activations all have the same.
    """
    choose = np.random.default_rng(seed)
    same = int(choose.choice([8, 8, 8, 6, 4, 3]))
    build = ProgramBuilder(seed, activation_bits=activation_bits or same)
    channels = int(choose.choice([1, 3, 8]))
    spatial = (int(choose.integers(7, 13)),) * int(choose.choice([1, 2, 2]))
    current = build.quantize(build.input((channels, *spatial)))
    for _ in range(choose.integers(3, 7)):
        step = _STEPS[int(choose.integers(len(_STEPS)))]
        current = step(build, current, choose)
    head = _HEADS[int(choose.integers(len(_HEADS)))]
    return build.program(head(build, current)), build.batch(int(choose.integers(1, 5)))


Step = Callable[[ProgramBuilder, str, np.random.Generator], str]


def _any_convolution(build: ProgramBuilder, source: str, choose: np.random.Generator) -> str:
    channels, *spatial = build.shape(source)
    groups = int(choose.choice([g for g in (1, 1, 2, 4, channels) if channels % g == 0]))
    kernel = (min(int(choose.choice([1, 3])), *spatial),) * len(spatial)
    return build.convolution(
        source,
        groups * int(choose.integers(1, 4)) if groups > 1 else int(choose.choice([8, 16])),
        kernel,
        bits=int(choose.integers(2, 9)),
        stride=int(choose.integers(1, 3)),
        padding=tuple((int(choose.integers(0, 3)), int(choose.integers(0, 3))) for _ in spatial),
        groups=groups,
    )


def _residual(build: ProgramBuilder, source: str, choose: np.random.Generator) -> str:
    channels, *spatial = build.shape(source)
    branch = build.convolution(source, channels, (1,) * len(spatial), int(choose.integers(2, 9)))
    return build.add(source, branch)


def _pool(build: ProgramBuilder, source: str, choose: np.random.Generator) -> str:
    if min(build.shape(source)[1:]) < 2:
        return source
    if choose.integers(2):
        return build.average_pool(source, 2, int(choose.integers(1, 3)), (0, 1))
    return build.max_pool(source, 2, int(choose.integers(1, 3)), (0, 1), bool(choose.integers(2)))


def _pad_and_cut(build: ProgramBuilder, source: str, choose: np.random.Generator) -> str:
    _, *spatial = build.shape(source)
    padded = build.pad(source, ((0, 0), *((1, int(choose.integers(0, 3))) for _ in spatial)))
    return build.slice(padded, 1, int(choose.integers(0, 2)), build.shape(padded)[1], 1)


def _doubled(build: ProgramBuilder, source: str, _: np.random.Generator) -> str:
    return build.concat(source, build.clamp(source))


def _shuffled(build: ProgramBuilder, source: str, _: np.random.Generator) -> str:
    """The channel shuffle of ShuffleNet with two groups."""
    channels, *spatial = build.shape(source)
    if channels % 2:
        return build.lookup(source)
    split = build.reshape(source, (2, channels // 2, *spatial))
    swapped = build.permute(split, (1, 0, *range(2, 2 + len(spatial))))
    return build.reshape(swapped, (channels, *spatial))


_STEPS: tuple[Step, ...] = (
    _any_convolution,
    _any_convolution,
    _any_convolution,
    _residual,
    _pool,
    _pad_and_cut,
    _doubled,
    _shuffled,
    lambda build, source, _: build.lookup(source),
    lambda build, source, _: build.clamp(source),
)


def _flat_head(build: ProgramBuilder, source: str) -> str:
    flat = build.reshape(source, (math.prod(build.shape(source)),))
    return build.dequantize(build.linear(flat, 5, bits=4))


def _token_head(build: ProgramBuilder, source: str) -> str:
    return build.linear(source, 6, bits=3, to_float=True)


_HEADS: tuple[Callable[[ProgramBuilder, str], str], ...] = (
    lambda build, source: build.linear(build.global_average(source), 10, to_float=True),
    lambda build, source: build.dequantize(build.global_average(source, keepdim=True)),
    lambda build, source: build.dequantize(source),
    _flat_head,
    _token_head,
)


@pytest.fixture(scope="session")
def random_case() -> Callable[..., tuple[IntegerProgram, dict[str, np.ndarray]]]:
    return random_program


@pytest.fixture
def check_in_code(tmp_path: Path) -> Callable[[IntegerProgram, dict[str, np.ndarray]], None]:
    """Writes a program in code; ONNX Runtime has to compute what the reference computes."""
    from sigmaquant.export.onnx.model import write_onnx
    from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork

    def check(program: IntegerProgram, inputs: dict[str, np.ndarray]) -> None:
        write_onnx(program, tmp_path / "net.onnx", coded=True)
        found = OnnxRuntimeNetwork(tmp_path / "net.onnx", threads=1).run(inputs)
        for name, expected in run_reference(program, inputs).items():
            assert np.array_equal(found[name], expected), name

    return check
