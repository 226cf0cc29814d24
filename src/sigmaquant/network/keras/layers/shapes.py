"""Other shapes, other orders, edges and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sigmaquant.network.keras.call import ADVICE, LayerCall, Writer


def _flatten(call: LayerCall) -> str:
    value = call.only_input()
    if not call.is_channels_last and call.rank > 2:  # Keras flattens with the channels last
        value = call.add("Transpose", value, perm=(0, *range(2, call.rank), 1))
    return call.add("Reshape", value, call.constant("shape", (0, -1)), main=True)


def _reshape(call: LayerCall) -> str:
    shape = call.constant("shape", (0, *call.layer.target_shape))
    return call.add("Reshape", call.only_input(), shape, main=True)


def _permute(call: LayerCall) -> str:
    return call.add("Transpose", call.only_input(), main=True, perm=(0, *call.layer.dims))


def _zero_padding(call: LayerCall) -> str:
    begins, ends = zip(*_pairs(call.layer.padding), strict=True)
    value = call.channels_first(call.only_input())
    pads = call.constant("pads", (0, 0, *begins, 0, 0, *ends))
    return call.back(call.add("Pad", value, pads, main=True))


def _cropping(call: LayerCall) -> str:
    sides = _pairs(call.layer.cropping)
    spatial = range(2, 2 + len(sides))
    value = call.channels_first(call.only_input())
    starts = call.constant("starts", [begin for begin, _ in sides])
    ends = call.constant("ends", [-end if end else 2**31 - 1 for _, end in sides])
    axes = call.constant("axes", tuple(spatial))
    return call.back(call.add("Slice", value, starts, ends, axes, main=True))


def _pairs(sides: Sequence[Any]) -> list[tuple[int, int]]:
    """(begin, end) of every spatial dimension; of one dimension Keras keeps the pair alone."""
    if isinstance(sides[0], Sequence):
        return [(int(begin), int(end)) for begin, end in sides]
    return [(int(sides[0]), int(sides[1]))]


def _up_sampling(call: LayerCall) -> str:
    layer, mode = call.layer, getattr(call.layer, "interpolation", "nearest")
    if mode not in ("nearest", "bilinear"):
        call.unsupported(f"its interpolation is {mode!r}; {ADVICE}")
    size = layer.size if isinstance(layer.size, Sequence) else (layer.size,)
    value = call.channels_first(call.only_input())
    scales = call.constant("scales", [1.0, 1.0, *map(float, size)])
    if mode == "bilinear":
        made = call.add("Resize", value, "", scales, main=True, mode="linear")
    else:
        made = call.add(
            "Resize",
            value,
            "",
            scales,
            main=True,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    return call.back(made)


LAYERS: dict[str, Writer] = {
    **{f"Cropping{n}D": _cropping for n in (1, 2)},
    **{f"UpSampling{n}D": _up_sampling for n in (1, 2)},
    **{f"ZeroPadding{n}D": _zero_padding for n in (1, 2)},
    "Flatten": _flatten,
    "Permute": _permute,
    "Reshape": _reshape,
}
"""By class."""
