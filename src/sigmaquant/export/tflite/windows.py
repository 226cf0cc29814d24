"""Windows that slide over rows and columns, and the padding around what they slide over.

TensorFlow Lite pads by name: VALID is none, SAME is what keeps ``ceil(size / stride)`` windows,
with the larger half behind. PyTorch's numbers agree with SAME at stride 1 and for some sizes
beyond; elsewhere the padding is an operator of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sigmaquant.export.tflite.flatfile import SAME, VALID
from sigmaquant.export.tflite.layout import Layout
from sigmaquant.export.tflite.sheet import Sheet
from sigmaquant.lowering.program import AveragePool, Convolution, MaxPool

T = TypeVar("T")
Sides = tuple[int, int]
Sliding = AveragePool | Convolution | MaxPool


@dataclass(frozen=True)
class Window:
    """How a kernel slides: (rows, columns) of each; a sequence is an image of one row."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[Sides, Sides]

    @classmethod
    def over(
        cls,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[Sides],
        dilation: Sequence[int] = (1, 1),
    ) -> Window:
        """From one number for each of one or two spatial dimensions."""
        return cls(_pair(kernel, 1), _pair(stride, 1), _pair(dilation, 1), _pair(padding, (0, 0)))

    @property
    def strides(self) -> dict[str, int]:
        """The options of a kernel that slides."""
        return {"strideH": self.stride[0], "strideW": self.stride[1]}


def _pair(given: Sequence[T], filler: T) -> tuple[T, T]:
    first, second = (filler, *given) if len(given) == 1 else given
    return first, second


@dataclass(frozen=True)
class Padded:
    """What a kernel slides over, and the mode in which it pads that by itself."""

    tensor: int
    mode: int


def padded(
    sheet: Sheet, operator: Sliding, window: Window, layout: Layout, lowest: float | None = None
) -> Padded:
    """The operator's input with its padding, as an operator where the kernel has no mode for it.

    Args:
        sheet: where to write.
        operator: what slides.
        window: how.
        layout: with channels last.
        lowest: what a maximum pads with; by default the padding is real zero.
    """
    source, target = operator.inputs[0], operator.output
    tensor = sheet.tensor(source, layout)
    sizes = layout.shape(sheet.value(source).shape)[:2]
    counts = layout.shape(sheet.value(target).shape)[:2]
    sides = [_needed(window, axis, sizes[axis], counts[axis]) for axis in range(2)]
    if not any(side for pair in sides for side in pair):
        return Padded(tensor, VALID)
    if all(_is_same(window, axis, sizes[axis], sides[axis]) for axis in range(2)):
        return Padded(tensor, SAME)
    paddings = sheet.graph.integers([(0, 0), *sides, (0, 0)])
    record = sheet.graph.record(tensor)
    shape = [size + sum(side) for size, side in zip(sizes, sides, strict=True)]
    output = sheet.graph.tensor(
        f"{operator.name}/padded", (1, *shape, record.shape[-1]), record.kind, record.quantization
    )
    encoding = sheet.value(source).encoding
    if lowest is None or (encoding is not None and encoding.zero_point == 0):
        return Padded(sheet.graph.add("PAD", [tensor, paddings], output), VALID)
    dtype = np.float32 if encoding is None else np.int8
    fill = sheet.graph.constant(np.array([lowest], dtype), record.quantization)
    return Padded(sheet.graph.add("PADV2", [tensor, paddings, fill], output), VALID)


def _needed(window: Window, axis: int, size: int, count: int) -> Sides:
    """The padding that ``count`` windows reach: beyond it, padding changes nothing."""
    begin, _ = window.padding[axis]
    return begin, max(0, _reach(window, axis, count) - size - begin)


def _reach(window: Window, axis: int, count: int) -> int:
    extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1
    return (count - 1) * window.stride[axis] + extent


def _is_same(window: Window, axis: int, size: int, sides: Sides) -> bool:
    count = -(-size // window.stride[axis])
    total = max(0, _reach(window, axis, count) - size)
    return sides == (total // 2, total - total // 2)
