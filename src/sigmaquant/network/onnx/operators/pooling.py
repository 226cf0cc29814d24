"""Pools over windows and over everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Step
from sigmaquant.network.onnx.operators.arithmetic import WithTensor
from sigmaquant.network.onnx.operators.spatial import Pad
from sigmaquant.network.onnx.operators.windows import Sides, flat_pads, is_even, window_sides

_MAX_POOLS: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE_POOLS: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_GLOBAL_AVERAGES: dict[int, Any] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


def _max_pool(call: Call) -> Step:
    call.only_output()
    rank = call.spatial_rank()
    kernel, stride, dilation = _window(call, rank)
    sides = _sides(call, kernel, stride, dilation)
    if is_even(sides) and _within_half(sides, kernel):
        padding = [begin for begin, _ in sides]
        return Step(_MAX_POOLS[rank](kernel, stride, padding, dilation))
    pool = _MAX_POOLS[rank](kernel, stride, 0, dilation)
    return Step(pool, before=Pad(flat_pads(sides), value=-math.inf))


def _average_pool(call: Call) -> Step:
    rank = call.spatial_rank()
    kernel, stride, dilation = _window(call, rank)
    if any(step != 1 for step in dilation):
        call.unsupported("an average pool with dilations is not taken; write it as a convolution")
    counted = _declared_sides(call, kernel, stride, dilation)
    sides = _sides(call, kernel, stride, dilation)
    counts_padding = bool(call.integer("count_include_pad", 0))
    unpadded = not any(side for pair in sides for side in pair)
    if unpadded or (counts_padding and sides == counted):
        if is_even(sides) and _within_half(sides, kernel):
            return Step(_AVERAGE_POOLS[rank](kernel, stride, [begin for begin, _ in sides]))
        return Step(_AVERAGE_POOLS[rank](kernel, stride), before=Pad(flat_pads(sides)))
    sizes = [call.fixed(2 + dim) for dim in range(rank)]
    shares = _shares(sizes, kernel, stride, sides, counted if counts_padding else None)
    call.evaluator.spend(shares.numel() * shares.element_size())
    return Step(
        _AVERAGE_POOLS[rank](kernel, stride),
        before=Pad(flat_pads(sides)),
        after=WithTensor(torch.mul, shares, first=False),
    )


def _window(call: Call, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(kernel, stride, dilation)."""
    if call.attribute_integers("kernel_shape") is None:
        call.damaged("its kernel_shape is missing")
    return (
        call.per_dimension("kernel_shape", rank, 1, least=1),
        call.per_dimension("strides", rank, 1, least=1),
        call.per_dimension("dilations", rank, 1, least=1),
    )


def _declared_sides(
    call: Call, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Sides:
    sides = window_sides(call, kernel, stride, dilation)
    for (begin, end), size, spread in zip(sides, kernel, dilation, strict=True):
        if max(begin, end) > spread * (size - 1):
            call.damaged(f"its padding {list(sides)} is wider than its window")
    return sides


def _sides(
    call: Call, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Sides:
    """The padding, widened at the end where ``ceil_mode`` keeps a window that reaches beyond."""
    sides = _declared_sides(call, kernel, stride, dilation)
    if not call.integer("ceil_mode", 0):
        return sides
    widened = []
    for dim, ((begin, end), size, step, spread) in enumerate(
        zip(sides, kernel, stride, dilation, strict=True)
    ):
        length = call.fixed(2 + dim)
        reach = spread * (size - 1) + 1
        rest = length + begin + end - reach
        windows = -(-rest // step) + 1
        # A window that would start behind the last element, in the padding alone, is dropped.
        windows -= (windows - 1) * step >= length + begin
        widened.append((begin, max(end, (windows - 1) * step + reach - length - begin)))
    return tuple(widened)


def _within_half(sides: Sides, kernel: Sequence[int]) -> bool:
    """What torch's own pools can pad."""
    return all(max(pair) <= size // 2 for pair, size in zip(sides, kernel, strict=True))


def _shares(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    sides: Sides,
    counted: Sides | None,
) -> Tensor:
    """Cells of a window for each that counts in the mean: (1, 1, *output).

    Cells count that lie within the input, or within the padding ``counted`` where it is given.
    """
    shares = torch.ones(())
    for size, window, step, (begin, end), pads in zip(
        sizes, kernel, stride, sides, counted or ((0, 0),) * len(sizes), strict=True
    ):
        inside = torch.zeros(begin + size + end)
        inside[begin - pads[0] : begin + size + pads[1]] = 1
        counts = inside.unfold(0, window, step).sum(-1)
        shares = shares.unsqueeze(-1) * (window / counts)
    return shares.reshape(1, 1, *shares.shape)


def _global_average(call: Call) -> Step:
    return Step(_GLOBAL_AVERAGES[call.spatial_rank()](1))


def _global_maximum(call: Call) -> Step:
    rank = call.spatial_rank()
    return Step(_MAX_POOLS[rank](tuple(call.fixed(2 + dim) for dim in range(rank))))


BUILDERS: dict[str, Builder] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_maximum,
}
"""By ONNX operator."""
