"""Pad and Resize."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.network.onnx.call import Builder, Call, Step
from sigmaquant.network.onnx.operators.interpolation import (
    Coordinates,
    Taps,
    cubic_taps,
    linear_taps,
    nearest_indices,
)
from sigmaquant.network.onnx.operators.shapes import Take
from sigmaquant.network.onnx.operators.windows import Sides, flat_pads

_NUMPY_PADS = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
_TORCH_PADS = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(call: Call) -> Step:
    mode = call.text("mode", "constant")
    if mode not in ("constant", *_NUMPY_PADS):
        call.damaged(f"its mode is {mode!r}")
    sides = _pad_sides(call)
    if not any(side for pair in sides for side in pair):
        return Step(nn.Identity())
    if any(pair != (0, 0) and call.value().follows_batch(dim) for dim, pair in enumerate(sides)):
        call.unsupported("it pads the batch")
    if mode == "constant":
        fill = call.optional(2, "value")
        value = 0.0 if fill is None else fill.reshape(-1)[0].item()
        return Step(Pad(flat_pads(_trimmed(sides)), "constant", value))
    if any(side < 0 for pair in sides for side in pair):
        call.unsupported(f"it takes elements away in mode {mode!r}; use Slice")
    return _mirrored_pad(call, sides, mode)


def _pad_sides(call: Call) -> Sides:
    pads = call.integers(1, "pads")
    axes = call.integers(3, "axes") if call.opset >= 18 else None
    axes = tuple(range(call.rank())) if axes is None else call.axes(axes)
    if pads is None or len(pads) != 2 * len(axes):
        call.damaged("its pads do not fit its input")
    named = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    return tuple(named.get(dim, (0, 0)) for dim in range(call.rank()))


def _trimmed(sides: Sides) -> Sides:
    """Without the first dimensions, where nothing is padded: torch counts from the last."""
    first = next(dim for dim, pair in enumerate(sides) if pair != (0, 0))
    return sides[first:]


def _mirrored_pad(call: Call, sides: Sides, mode: str) -> Step:
    lengths = call.shape()
    for pair, length in zip(sides, lengths, strict=True):
        if mode != "edge" and max(pair) > length - (mode == "reflect"):
            call.unsupported(f"it pads {length} elements by {list(pair)} in mode {mode!r}")
    trimmed = _trimmed(sides)
    spatial = call.rank() - 2
    if 1 <= spatial <= 3 and len(trimmed) <= spatial and mode != "wrap":
        full = sides[2:]
        return Step(Pad(flat_pads(full), _TORCH_PADS[mode]))
    takes = []
    for dim, (pair, length) in enumerate(zip(sides, lengths, strict=True)):
        if pair != (0, 0):
            call.evaluator.spend(8 * (length + sum(pair)))
            places = np.pad(np.arange(length), pair, mode=_NUMPY_PADS[mode])  # type: ignore[call-overload]
            takes.append(Take(dim, torch.from_numpy(places)))
    return Step(nn.Sequential(*takes))


def _resize(call: Call) -> Step:
    mode = call.text("mode", "nearest")
    _check_resize(call, mode)
    outputs, scales = _resize_targets(call)
    changed = [d for d in range(call.rank()) if outputs[d] != call.shape()[d] or scales[d] != 1]
    if not changed:
        return Step(nn.Identity())
    coordinates = [
        Coordinates(
            length=call.fixed(dim),
            out=outputs[dim],
            scale=scales[dim],
            mode=call.text("coordinate_transformation_mode", "half_pixel"),
        )
        for dim in changed
    ]
    call.evaluator.spend(sum(48 * each.out for each in coordinates))
    if mode == "nearest":
        rule = call.text("nearest_mode", "round_prefer_floor")
        return _nearest(call, changed, [nearest_indices(each, rule) for each in coordinates])
    if mode == "linear":
        return _weighted(call, changed, [linear_taps(each) for each in coordinates], mode)
    sharpness = call.number("cubic_coeff_a", -0.75)
    outside = bool(call.integer("exclude_outside", 0))
    taps = [cubic_taps(each, sharpness, exclude_outside=outside) for each in coordinates]
    return _weighted(call, changed, taps, mode)


def _check_resize(call: Call, mode: str) -> None:
    known = {
        "mode": (mode, ("nearest", "linear", "cubic")),
        "coordinate_transformation_mode": (
            call.text("coordinate_transformation_mode", "half_pixel"),
            ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
        ),
        "nearest_mode": (
            call.text("nearest_mode", "round_prefer_floor"),
            ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        ),
        "keep_aspect_ratio_policy": (
            call.text("keep_aspect_ratio_policy", "stretch"),
            ("stretch",),
        ),
        "antialias": (str(call.integer("antialias", 0)), ("0",)),
    }
    for name, (value, choices) in known.items():
        if value not in choices:
            call.unsupported(f"its {name} is {value!r}; {', '.join(choices)} are taken")


def _resize_targets(call: Call) -> tuple[list[int], list[float]]:
    """(output size, scale) of every dimension."""
    rank = call.rank()
    named = call.attribute_integers("axes")
    axes = tuple(range(rank)) if named is None else call.axes(named)
    outputs, scales = list(call.shape()), [1.0] * rank
    sizes = call.value(3) if call.has(3) else None
    if sizes is not None and sizes.shapes[0] != (0,):
        if not sizes.known:
            call.unsupported("its sizes are computed from values of the input")
        tables = [tensor.reshape(-1).tolist() for tensor in sizes.tensors]
        _fits(call, len(tables[0]) == len(axes))
        for index, axis in enumerate(axes):
            if call.value().follows_batch(axis):
                # The file may fix a batch of 1 here; samples are never resized.
                _fits(
                    call,
                    call.one_sample
                    or all(
                        t[index] == s[axis]
                        for t, s in zip(tables, call.value().shapes, strict=True)
                    ),
                )
                continue
            _fits(call, len({table[index] for table in tables}) == 1 and tables[0][index] > 0)
            outputs[axis] = int(tables[0][index])
            scales[axis] = outputs[axis] / call.shape()[axis]
        return outputs, scales
    factors = call.constant(2, "scales").reshape(-1).tolist()
    _fits(call, len(factors) == len(axes) and all(0 < factor < 2**31 for factor in factors))
    for axis, factor in zip(axes, factors, strict=True):
        scales[axis] = float(factor)
        if factor != 1:
            outputs[axis] = math.floor(call.fixed(axis) * factor)
            _fits(call, outputs[axis] > 0)
    return outputs, scales


def _fits(call: Call, holds: bool) -> None:
    if not holds:
        call.damaged("its sizes or scales do not fit its input")


def _nearest(call: Call, dims: Sequence[int], places: Sequence[Tensor]) -> Step:
    spatial = call.rank() - 2
    size = [call.shape()[dim] for dim in range(2, call.rank())]
    plain = 1 <= spatial <= 3 and min(dims) >= 2
    for dim, indices in zip(dims, places, strict=True):
        if plain:
            size[dim - 2] = len(indices)
            line = torch.arange(call.shape()[dim], dtype=torch.float32).reshape(1, 1, -1)
            plain = torch.equal(F.interpolate(line, size=len(indices))[0, 0].long(), indices)
    if plain:
        return Step(nn.Upsample(size=tuple(size), mode="nearest"))
    return Step(nn.Sequential(*(Take(d, i) for d, i in zip(dims, places, strict=True))))


_TORCH_MODES = {
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}


def _weighted(call: Call, dims: Sequence[int], taps: Sequence[Taps], mode: str) -> Step:
    """As torch's own interpolation where it computes the same, else dimension by dimension."""
    torch_mode = _TORCH_MODES.get((mode, call.rank() - 2))
    if torch_mode is not None and min(dims) >= 2:
        size = [call.shape()[dim] for dim in range(2, call.rank())]
        lengths = [call.shape()[dim] for dim in dims]
        for dim, each in zip(dims, taps, strict=True):
            size[dim - 2] = each.weights.shape[1]
        for aligned in (False, True):
            pairs = zip(taps, lengths, strict=True)
            if all(_is_torchs(each, length, mode, aligned) for each, length in pairs):
                return Step(nn.Upsample(size=tuple(size), mode=torch_mode, align_corners=aligned))
    return Step(nn.Sequential(*(Weighted(d, each) for d, each in zip(dims, taps, strict=True))))


def _is_torchs(taps: Taps, length: int, mode: str, aligned: bool) -> bool:
    """Whether torch interpolates a dimension of that length in the same way."""
    # Two different weighted sums of random numbers do not agree by chance.
    line = torch.rand(length, generator=torch.Generator().manual_seed(0))
    torch_mode = "bilinear" if mode == "linear" else "bicubic"
    size = (1, taps.weights.shape[1])
    theirs = F.interpolate(
        line.reshape(1, 1, 1, -1), size=size, mode=torch_mode, align_corners=aligned
    )
    return torch.allclose(theirs.reshape(-1), taps.sum(line), rtol=0, atol=1e-5)


class Pad(nn.Module):
    """More elements around a tensor, or fewer.

    Args:
        sides: as ``torch.nn.functional.pad`` takes them.
        mode: constant, reflect or replicate.
        value: of a constant padding.
    """

    def __init__(self, sides: Sequence[int], mode: str = "constant", value: float = 0.0) -> None:
        super().__init__()
        self.sides = list(sides)
        self.mode = mode
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """At least as many dimensions as are padded."""
        return F.pad(x, self.sides, self.mode, self.value if self.mode == "constant" else None)

    def extra_repr(self) -> str:
        """What is padded, for printing."""
        return f"{self.sides}, {self.mode}"


class Weighted(nn.Module):
    """Every output along a dimension as a weighted sum of a few inputs.

    Args:
        axis: the dimension.
        taps: which inputs, and how much of them.
    """

    indices: Tensor
    weights: Tensor

    def __init__(self, axis: int, taps: Taps) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("indices", taps.indices)
        self.register_buffer("weights", taps.weights)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape with as many elements along the axis as were planned for."""
        behind = [1] * (x.dim() - self.axis - 1)
        parts = [
            x.index_select(self.axis, self.indices[tap]) * self.weights[tap].reshape(-1, *behind)
            for tap in range(len(self.indices))
        ]
        return functools.reduce(torch.add, parts)


BUILDERS: dict[str, Builder] = {"Pad": _pad, "Resize": _resize}
"""By ONNX operator."""
