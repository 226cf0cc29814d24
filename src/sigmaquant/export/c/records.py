"""Parts of records that several writers share."""

from __future__ import annotations

from collections.abc import Sequence

from sigmaquant.export.c.literals import vector
from sigmaquant.export.c.multipliers import Multipliers
from sigmaquant.export.c.schedule import Call, Tensor
from sigmaquant.lowering.program import Encoding

WINDOW_FIELDS = (
    *("height", "width", "channels", "output_height", "output_width"),
    *("kernel_height", "kernel_width", "stride_y", "stride_x", "dilation_y", "dilation_x"),
    *("top", "left"),
)
"""The fields of ``sq_window``, in order."""


def encoding_of(tensor: Tensor) -> Encoding:
    """The encoding of a quantized tensor."""
    assert tensor.value.encoding is not None, f"{tensor.value.name} is float"
    return tensor.value.encoding


def range_of(tensor: Tensor, multipliers: Multipliers) -> str:
    """The initialiser of a ``sq_range`` for results of these multipliers."""
    encoding = encoding_of(tensor)
    return vector((encoding.zero_point, encoding.highest, tensor.bits, multipliers.lift))


def window_of(
    call: Call,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[tuple[int, int]] = (),
    dilation: Sequence[int] = (),
) -> dict[str, int]:
    """The fields of a ``sq_window``. The padding at the end follows from the sizes."""
    (channels, height, width), (_, output_height, output_width) = _images(call)
    numbers = (height, width, channels, output_height, output_width)
    steps = _two(kernel, 1) + _two(stride, 1) + _two(dilation, 1)
    begins = _two([begin for begin, _ in padding], 0)
    return dict(zip(WINDOW_FIELDS, (*numbers, *steps, *begins), strict=True))


def _images(call: Call) -> tuple[list[int], list[int]]:
    """(channels, height, width) of input and output; a sequence is an image of height 1."""
    shapes = []
    for tensor in (call.inputs[0], call.output):
        channels, *spatial = tensor.value.shape
        shapes.append([channels, *_two(spatial, 1)])
    return shapes[0], shapes[1]


def _two(numbers: Sequence[int], missing: int) -> list[int]:
    """Vertical and horizontal number of up to two dimensions."""
    return [missing] * (2 - len(numbers)) + list(numbers)
