"""The padding of sliding windows, as convolutions and pools share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sigmaquant.network.onnx.call import Call

Sides: TypeAlias = tuple[tuple[int, int], ...]
"""(begin, end) of every spatial dimension."""


def window_sides(
    call: Call, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Sides:
    """The padding that ``pads`` or ``auto_pad`` ask for."""
    mode = call.text("auto_pad", "NOTSET")
    rank = len(kernel)
    if mode == "NOTSET":
        pads = call.per_dimension("pads", 2 * rank, 0, least=0)
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    if mode == "VALID":
        return ((0, 0),) * rank
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        call.damaged(f"its auto_pad is {mode!r}")
    sides = []
    for dim, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True)):
        length = call.fixed(2 + dim)
        out = -(-length // step)
        total = max(0, (out - 1) * step + spread * (size - 1) + 1 - length)
        half = total // 2
        sides.append((half, total - half) if mode == "SAME_UPPER" else (total - half, half))
    return tuple(sides)


def is_even(sides: Sides) -> bool:
    """Whether both ends of every dimension are padded alike."""
    return all(begin == end for begin, end in sides)


def flat_pads(sides: Sequence[tuple[int, int]]) -> list[int]:
    """As ``torch.nn.functional.pad`` takes them: from the last dimension on.

    >>> flat_pads([(1, 2), (3, 4)])
    [3, 4, 1, 2]
    """
    return [side for pair in reversed(sides) for side in pair]
