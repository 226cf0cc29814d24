"""What is timed on this host: networks of one layer or operator again and again.

A single small layer takes less time than a session's start and end, and hardly more than ONNX
Runtime's own profile resolves, 1 us. So chains of two lengths are timed: their difference is that
of the links.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sigmaquant.layers import LayerKind, LayerSpec
from sigmaquant.lowering.program import (
    Add,
    Argument,
    AveragePool,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    IntegerProgram,
    Linear,
    Lookup,
    MaxPool,
    Operator,
    Quantize,
    Value,
    Weights,
)

_ENCODING = Encoding(scale=2.0**-5, zero_point=128, bits=8)
_WEIGHT_SCALE = 2.0**-10
_PIXELS = 3  # kernels of pools; their padding keeps the size
_FLOAT = "float "
_SOURCE = "source"


class Chain(Protocol):
    """A network of equal links."""

    @property
    def name(self) -> str:
        """What a link is, for messages."""
        ...

    def program(self, links: int) -> IntegerProgram:
        """The network with so many links, which differ in their weights alone."""
        ...


@dataclass(frozen=True)
class LayerChain:
    """A link is a layer, and the addition of its result to those of the links before.

    So a layer may have any shape: all read the same input, and none can be left out.

    Attributes:
        kind: what the layers are.
        inputs, outputs: channels or features; equal for depthwise convolutions.
        weight_bits: width in which the file stores the weights.
        size: height and width of the input; 1 for linear layers.
        kernel: height and width of convolutions' kernels, which keep the size but for the stride.
        stride: of convolutions, in both directions.
    """

    kind: LayerKind
    inputs: int
    outputs: int
    weight_bits: int
    size: int = 1
    kernel: int = 1
    stride: int = 1

    @property
    def name(self) -> str:
        """As ``Chain.name``."""
        features = f"{self.kind} {self.inputs} to {self.outputs}"
        if self.kind is LayerKind.LINEAR:
            return features
        step = f" by {self.stride}" if self.stride > 1 else ""
        return f"{features}, {self.kernel}x{self.kernel}{step} on {self.size}x{self.size}"

    @property
    def layer(self) -> LayerSpec:
        """The layer of a link."""
        is_linear = self.kind is LayerKind.LINEAR
        groups = self.inputs if self.kind is LayerKind.DEPTHWISE_CONV else 1
        after = -(-self.size // self.stride)
        window = () if is_linear else (self.kernel, self.kernel)
        weight_shape = (self.outputs, self.inputs // groups, *window)
        return LayerSpec(
            name=self.name,
            kind=self.kind,
            weight_shape=weight_shape,
            input_shape=(self.inputs,) if is_linear else (self.inputs, self.size, self.size),
            output_shape=(self.outputs,) if is_linear else (self.outputs, after, after),
            macs=math.prod(weight_shape) * after**2,
            groups=groups,
            input_groups=("chain",),
            output_group="chain",
        )

    @property
    def sums(self) -> OperatorChain:
        """The additions alone."""
        return OperatorChain("add", self.layer.output_shape)

    def program(self, links: int) -> IntegerProgram:
        """As ``Chain.program``."""
        random, layer = np.random.default_rng(0), self.layer
        body: list[Operator] = []
        for at in range(links):
            body.append(self._operator(f"layer{at}", layer, random))
            if at:
                before = "layer0.out" if at == 1 else f"sum{at - 1}.out"
                body.append(Add(f"sum{at}", (before, f"layer{at}.out"), f"sum{at}.out", 14))
        return _program(body, layer.input_shape, layer.output_shape, _ENCODING)

    def _operator(self, name: str, layer: LayerSpec, random: np.random.Generator) -> Operator:
        half = 1 << (self.weight_bits - 1)
        weights = Weights(
            layer=name,
            bits=self.weight_bits,
            values=random.integers(-half, half, layer.weight_shape).astype(np.int8),
            scales=np.full(layer.channels, _WEIGHT_SCALE, np.float32),
        )
        place = (name, (_SOURCE,), f"{name}.out")
        bias = np.zeros(layer.channels, np.int32)
        if self.kind is LayerKind.LINEAR:
            return Linear(*place, weights, bias)
        margin, steps = (self.kernel - 1) // 2, (self.stride, self.stride)
        padding = ((margin, margin), (margin, margin))
        return Convolution(*place, weights, bias, steps, padding, (1, 1), layer.groups)


@dataclass(frozen=True)
class OperatorChain:
    """A link is an operator without weights, which keeps the shape and reads the link before.

    Attributes:
        operator: a key of ``OPERATORS``.
        shape: (channels, height, width) or (features,).
    """

    operator: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """As ``Chain.name``."""
        return f"{self.operator} on {'x'.join(map(str, self.shape))}"

    @property
    def quantized(self) -> bool:
        """Whether it works on integers."""
        return not self.operator.startswith(_FLOAT)

    @property
    def elements(self) -> int:
        """Values that a link writes."""
        return math.prod(self.shape)

    def program(self, links: int) -> IntegerProgram:
        """As ``Chain.program``; integers come from a convolution, in the order it writes them."""
        body: list[Operator] = []
        source = _SOURCE
        if self.quantized and len(self.shape) > 1:
            channels = self.shape[0]
            first = LayerChain(LayerKind.CONV, channels, channels, 8, size=self.shape[1])
            body.append(first._operator("first", first.layer, np.random.default_rng(0)))
            source = "first.out"
        for at in range(links):
            body.append(OPERATORS[self.operator](f"link{at}", source, f"link{at}.out"))
            source = f"link{at}.out"
        encoding = _ENCODING if self.quantized else None
        return _program(body, self.shape, self.shape, encoding)


def _program(
    body: list[Operator],
    input_shape: tuple[int, ...],
    shape: tuple[int, ...],
    encoding: Encoding | None,
) -> IntegerProgram:
    """Float in, float out; all that operators write has one shape and one encoding."""
    last = body[-1].output
    values = {operator.output: Value(operator.output, shape, encoding) for operator in body}
    values[_SOURCE] = Value(_SOURCE, input_shape, encoding)
    if encoding is None:
        return IntegerProgram("Chain", values, tuple(body), (_SOURCE,), (last,))
    values |= {"x": Value("x", input_shape, None), "y": Value("y", shape, None)}
    first, final = Quantize("begin", ("x",), _SOURCE), Dequantize("end", (last,), "y")
    return IntegerProgram("Chain", values, (first, *body, final), ("x",), ("y",))


def _add(name: str, source: str, output: str) -> Operator:
    return Add(name, (source, source), output, fraction_bits=14)


def _max_pool(name: str, source: str, output: str) -> Operator:
    one = (1, 1)
    window = (_PIXELS, _PIXELS)
    return MaxPool(name, (source,), output, window, one, (one, one), one, ceil_mode=False)


def _average_pool(name: str, source: str, output: str) -> Operator:
    one = (1, 1)
    return AveragePool(name, (source,), output, (_PIXELS, _PIXELS), one, (one, one))


def _lookup(name: str, source: str, output: str) -> Operator:
    return Lookup(name, (source,), output, np.arange(256, dtype=np.uint8)[::-1], "table")


def _sigmoid(name: str, source: str, output: str) -> Operator:
    return FloatOperator(name, (source,), output, "aten.sigmoid.default", (Argument(0),), {})


def _softmax(name: str, source: str, output: str) -> Operator:
    return FloatOperator(name, (source,), output, "aten.softmax.int", (Argument(0), -1), {})


OPERATORS: dict[str, Callable[[str, str, str], Operator]] = {
    "add": _add,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "lookup": _lookup,
    f"{_FLOAT}sigmoid": _sigmoid,
    f"{_FLOAT}softmax": _softmax,
}
"""By name: (name, input, output) to the operator."""
