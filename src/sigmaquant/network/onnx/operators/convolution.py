"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Step
from sigmaquant.network.onnx.operators.spatial import Pad
from sigmaquant.network.onnx.operators.windows import Sides, flat_pads, is_even, window_sides

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def _convolution(call: Call) -> Step:
    rank = call.spatial_rank()
    weight = call.parameter(1, "weight")
    kernel = _kernel(call, weight, rank)
    stride = call.per_dimension("strides", rank, 1, least=1)
    dilation = call.per_dimension("dilations", rank, 1, least=1)
    sides = window_sides(call, kernel, stride, dilation)
    groups = _groups(call, channels=weight.shape[1])
    even = is_even(sides)
    layer = _CONVOLUTIONS[rank](
        call.shape()[1],
        weight.shape[0],
        kernel,
        stride,
        padding=[begin for begin, _ in sides] if even else 0,
        dilation=dilation,
        groups=groups,
        bias=False,
        device="meta",
    )
    _set_weights(call, layer, weight, channels=weight.shape[0])
    return Step(layer, before=None if even else Pad(flat_pads(sides)))


def _transposed(call: Call) -> Step:
    rank = call.spatial_rank()
    weight = call.parameter(1, "weight")
    kernel = _kernel(call, weight, rank)
    stride = call.per_dimension("strides", rank, 1, least=1)
    dilation = call.per_dimension("dilations", rank, 1, least=1)
    extra = call.per_dimension("output_padding", rank, 0, least=0)
    spread = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sides = _cropped_sides(call, spread, stride, extra)
    groups = call.integer("group", 1)
    if weight.shape[0] != call.shape()[1] or groups < 1 or weight.shape[0] % groups:
        call.damaged(f"{groups} groups and a weight of {tuple(weight.shape)} do not fit the input")
    even = is_even(sides)
    layer = _TRANSPOSED[rank](
        weight.shape[0],
        weight.shape[1] * groups,
        kernel,
        stride,
        padding=[begin for begin, _ in sides] if even else 0,
        output_padding=extra,
        groups=groups,
        dilation=dilation,
        bias=False,
        device="meta",
    )
    _set_weights(call, layer, weight, channels=weight.shape[1] * groups)
    crop = None if even else Pad(flat_pads([(-begin, -end) for begin, end in sides]))
    return Step(layer, after=crop)


def _kernel(call: Call, weight: Tensor, rank: int) -> tuple[int, ...]:
    kernel = tuple(weight.shape[2:])
    named = call.attribute_integers("kernel_shape")
    if weight.dim() != rank + 2 or 0 in weight.shape or named not in (None, kernel):
        call.damaged(f"its weight of {tuple(weight.shape)} does not fit its input or kernel_shape")
    return kernel


def _groups(call: Call, channels: int) -> int:
    groups = call.integer("group", 1)
    if groups < 1 or channels * groups != call.shape()[1]:
        call.damaged(
            f"its weight reads {channels} channels in {groups} groups, its input has "
            f"{call.shape()[1]}"
        )
    return groups


def _set_weights(call: Call, layer: nn.Module, weight: nn.Parameter, channels: int) -> None:
    layer.register_parameter("weight", weight)
    if call.has(2):
        bias = call.parameter(2, "bias")
        if tuple(bias.shape) != (channels,):
            call.damaged(f"its bias has the shape {tuple(bias.shape)}, not {(channels,)}")
        layer.register_parameter("bias", bias)


def _cropped_sides(
    call: Call, spread: Sequence[int], stride: Sequence[int], extra: Sequence[int]
) -> Sides:
    """What is cut off at the begin and end of each dimension."""
    wanted = call.attribute_integers("output_shape")
    mode = call.text("auto_pad", "NOTSET")
    rank = len(spread)
    if wanted is None and mode in ("NOTSET", "VALID"):
        pads = call.per_dimension("pads", 2 * rank, 0, least=0)
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    sizes = [call.fixed(2 + d) for d in range(rank)]
    if wanted is None:
        wanted = tuple(n * s for n, s in zip(sizes, stride, strict=True))
    if len(wanted) != rank:
        call.damaged(f"its output_shape {list(wanted)} does not fit its input")
    sides = []
    for size, step, reach, more, out in zip(sizes, stride, spread, extra, wanted, strict=True):
        total = step * (size - 1) + more + reach - out
        if total < 0:
            call.unsupported(f"its output of {out} is longer than what its input reaches")
        half = total // 2
        sides.append((half, total - half) if mode == "SAME_UPPER" else (total - half, half))
    return tuple(sides)


BUILDERS: dict[str, Builder] = {"Conv": _convolution, "ConvTranspose": _transposed}
"""By ONNX operator."""
