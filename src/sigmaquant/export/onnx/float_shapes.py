"""Float operators that only move values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sigmaquant.export.onnx.float_call import Call
from sigmaquant.export.onnx.sheet import begins_then_ends


def _reshape(call: Call) -> None:
    call.result("Reshape", call.input(), call.graph.integers(-1, *call.output.shape))


def _expand(call: Call) -> None:
    call.result("Expand", call.input(), call.graph.integers(1, *call.output.shape))


def _permute(call: Call) -> None:
    order = [d % len(call.argument(1, "dims")) for d in call.argument(1, "dims")]
    if order[0] != 0:
        call.refuse("moves the batch dimension")
    call.result("Transpose", call.input(), perm=order)


def _transpose(call: Call) -> None:
    order = list(range(1 + len(call.source().shape)))
    first, second = (call.axis(call.argument(1 + i, f"dim{i}")) for i in range(2))
    order[first], order[second] = second, first
    call.result("Transpose", call.input(), perm=order)


def _slice(call: Call) -> None:
    start, stop = call.argument(2, "start"), call.argument(3, "end")
    numbers = (
        0 if start is None else start,
        np.iinfo(np.int64).max if stop is None else stop,
        call.axis(call.argument(1, "dim", 0)),
        call.argument(4, "step", 1),
    )
    call.result("Slice", call.input(), *(call.graph.integers(number) for number in numbers))


def _flip(call: Call) -> None:
    axes = [call.axis(d) for d in call.argument(1, "dims")]
    count, backwards = len(axes), np.iinfo(np.int64).min
    numbers = ([-1] * count, [backwards] * count, axes, [-1] * count)
    call.result("Slice", call.input(), *(call.graph.integers(*each) for each in numbers))


def _index_select(call: Call) -> None:
    places = call.argument(2, "index")
    if not isinstance(places, np.ndarray):
        call.refuse("at places that are computed")
    index = call.graph.integers(*places.tolist())
    call.result("Gather", call.input(), index, axis=call.axis(call.argument(1, "dim")))


def _select(call: Call) -> None:
    index = call.graph.constant(np.int64(call.argument(2, "index")))
    call.result("Gather", call.input(), index, axis=call.axis(call.argument(1, "dim")))


def _concat(call: Call) -> None:
    tensors = [call.tensor(item) for item in call.operator.arguments[0]]
    rank = 1 + len(call.output.shape)
    call.result("Concat", *tensors, axis=call.axis(call.argument(1, "dim", 0), rank))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _constant_pad(call: Call) -> None:
    _pad(call, call.argument(2, "value", 0.0))


def _any_pad(call: Call) -> None:
    mode = call.argument(2, "mode", "constant")
    if mode not in _PAD_MODES:
        call.refuse(f"in mode {mode!r}")
    _pad(call, call.argument(3, "value"), _PAD_MODES[mode])


def _pad(call: Call, value: float | None, mode: str = "constant") -> None:
    """ATen counts from the last dimension, in pairs; ONNX gives all begins, then all ends."""
    sides = call.argument(1, "pad")
    rank = 1 + len(call.source().shape)
    pairs = [(sides[2 * i], sides[2 * i + 1]) for i in range(len(sides) // 2)]
    whole = [*[(0, 0)] * (rank - len(pairs)), *reversed(pairs)]
    pads = call.graph.integers(*begins_then_ends(whole))
    fill = [call.graph.scalar(value or 0.0)] if mode == "constant" else []
    call.result("Pad", call.input(), pads, *fill, mode=mode)


WRITERS: dict[str, Callable[[Call], None]] = {
    "view.default": _reshape,
    "_unsafe_view.default": _reshape,
    "reshape.default": _reshape,
    "flatten.using_ints": _reshape,
    "unflatten.int": _reshape,
    "squeeze.dim": _reshape,
    "squeeze.dims": _reshape,
    "unsqueeze.default": _reshape,
    "expand.default": _expand,
    "permute.default": _permute,
    "transpose.int": _transpose,
    "slice.Tensor": _slice,
    "flip.default": _flip,
    "index_select.default": _index_select,
    "select.int": _select,
    "cat.default": _concat,
    "constant_pad_nd.default": _constant_pad,
    "pad.default": _any_pad,
}
