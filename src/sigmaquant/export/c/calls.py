"""One writer for each operator: its tables, its record, and the call of its kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.c.layers import write_convolution, write_linear
from sigmaquant.export.c.layout import Order, copy_order, joined_order
from sigmaquant.export.c.literals import float32, record, vector
from sigmaquant.export.c.records import encoding_of, range_of, window_of
from sigmaquant.export.c.schedule import Call, Rearrange, Tensor
from sigmaquant.export.c.sheet import Sheet, multiplier_words
from sigmaquant.lowering.arithmetic import (
    add_ratios,
    average_multiplier,
    layer_multiplier,
)
from sigmaquant.lowering.program import (
    Add,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    GlobalAverage,
    Linear,
    Lookup,
    MaxPool,
    Operator,
    Pad,
    Quantize,
    Slice,
)
from sigmaquant.lowering.reference import window_scale

MOST_AXES = 6
"""Of a copy, as in ``sq_order``."""


def write_call(sheet: Sheet, call: Call) -> None:
    """Append the call.

    Raises:
        UnsupportedError: no kernel computes the operator exactly.
    """
    _WRITERS[type(call.operator)](sheet, call.operator, call)


def _order(sheet: Sheet, order: Order, place: str) -> str:
    if len(order.sizes) > MOST_AXES:
        raise UnsupportedError(
            f"{place}: a copy between orders with {len(order.sizes)} axes; {MOST_AXES} work"
        )
    return sheet.record(
        "sq_order",
        {
            "axes": len(order.sizes),
            "sizes": vector(order.sizes),
            "source": vector(order.source),
            "target": vector(order.target),
        },
    )


def _between(sheet: Sheet, call: Call) -> str:
    """The record of the copy from the only input to the output."""
    order = copy_order(call.inputs[0].layout, call.output.layout)
    assert order is not None, call.operator.name
    return _order(sheet, order, call.operator.name)


def _quantize(sheet: Sheet, _: Quantize, call: Call) -> None:
    encoding = encoding_of(call.output)
    limits = {"zero_point": encoding.zero_point, "highest": encoding.highest}
    sheet.call(
        "sq_quantize",
        _between(sheet, call),
        float32(encoding.scale),
        sheet.record("sq_range", limits),
        sheet.place(call.inputs[0]),
        sheet.place(call.output),
    )


def _dequantize(sheet: Sheet, _: Dequantize, call: Call) -> None:
    encoding = encoding_of(call.inputs[0])
    sheet.call(
        "sq_dequantize",
        _between(sheet, call),
        float32(encoding.scale),
        encoding.zero_point,
        sheet.place(call.inputs[0]),
        sheet.place(call.output),
    )


def _rearrange(sheet: Sheet, _: Rearrange, call: Call) -> None:
    source, target = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.call("sq_copy", _between(sheet, call), source, target)


def _add(sheet: Sheet, operator: Add, call: Call) -> None:
    left, right = (encoding_of(tensor) for tensor in call.inputs)
    output, bits = encoding_of(call.output), operator.fraction_bits
    ratios = add_ratios(left, right, output, bits, operator.name)
    zeros = left.zero_point * ratios[0] + right.zero_point * ratios[1]
    total = sheet.record(
        "sq_sum",
        {
            "count": call.output.bytes,
            "left_ratio": ratios[0],
            "right_ratio": ratios[1],
            "constant": (output.zero_point << bits) - zeros,
            "fraction_bits": bits,
            "highest": output.highest,
        },
    )
    sheet.call("sq_add", total, *map(sheet.place, (*call.inputs, call.output)))


def _lookup(sheet: Sheet, operator: Lookup, call: Call) -> None:
    table = sheet.table(f"{operator.function}_table", operator.table)
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.call("sq_look_up", table, call.output.bytes, *places)


def _clamp(sheet: Sheet, operator: Clamp, call: Call) -> None:
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.call("sq_clamp", operator.low, operator.high, call.output.bytes, *places)


def _max_pool(sheet: Sheet, operator: MaxPool, call: Call) -> None:
    window = window_of(call, operator.kernel, operator.stride, operator.padding, operator.dilation)
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.call("sq_max_pool", sheet.record("sq_window", window), *places)


def _average_pool(sheet: Sheet, operator: AveragePool, call: Call) -> None:
    source, output = encoding_of(call.inputs[0]), encoding_of(call.output)
    multiplier = layer_multiplier(source.scale, window_scale(operator), output.scale)
    window = window_of(call, operator.kernel, operator.stride, operator.padding)
    _average(sheet, call, window, multiplier)


def _global_average(sheet: Sheet, _: GlobalAverage, call: Call) -> None:
    spatial = call.inputs[0].value.shape[1:]
    source, output = encoding_of(call.inputs[0]), encoding_of(call.output)
    multiplier = average_multiplier(source.scale, output.scale, math.prod(spatial))
    _average(sheet, call, window_of(call, spatial), multiplier)


def _average(
    sheet: Sheet, call: Call, window: dict[str, int], multiplier: npt.NDArray[np.float32]
) -> None:
    (word,) = multiplier_words(np.reshape(multiplier, 1))
    pool = sheet.record(
        "sq_average",
        {
            "window": record(window),
            "multiplier": f"{word}u",
            "zero_point": encoding_of(call.inputs[0]).zero_point,
            "range": range_of(call.output),
        },
    )
    sheet.sources.add("sq_requantize")
    sheet.call("sq_average_pool", pool, sheet.place(call.inputs[0]), sheet.place(call.output))


def _pad(sheet: Sheet, operator: Pad, call: Call) -> None:
    sheet.call(
        "sq_fill", encoding_of(call.output).zero_point, call.output.bytes, sheet.place(call.output)
    )
    shape = call.inputs[0].value.shape
    begins = [begin for begin, _ in operator.padding]
    _copy_region(sheet, call, call.inputs[0], shape, ([0] * len(shape), begins), (1,) * len(shape))


def _slice(sheet: Sheet, operator: Slice, call: Call) -> None:
    shape = call.inputs[0].value.shape
    starts, steps = [0] * len(shape), [1] * len(shape)
    for axis, start, step in zip(operator.axes, operator.starts, operator.steps, strict=True):
        starts[axis], steps[axis] = start, step
    sizes = call.output.value.shape
    _copy_region(sheet, call, call.inputs[0], sizes, (starts, [0] * len(shape)), steps)


def _concat(sheet: Sheet, operator: Concat, call: Call) -> None:
    begins = [0] * len(call.output.value.shape)
    for tensor in call.inputs:
        shape = tensor.value.shape
        places = [0] * len(shape), list(begins)
        _copy_region(sheet, call, tensor, shape, places, (1,) * len(shape))
        begins[operator.axis] += shape[operator.axis]


def _copy_region(
    sheet: Sheet,
    call: Call,
    source: Tensor,
    sizes: Sequence[int],
    begins: tuple[Sequence[int], Sequence[int]],
    steps: Sequence[int],
) -> None:
    """Copy a part of an input to a part of the output.

    Args:
        sheet: what to write on.
        call: whose output is written.
        source: the input.
        sizes: of the part.
        begins: the part's first element in the input and in the output.
        steps: between the elements that are read, along each dimension.
    """
    if 0 in sizes:
        return
    read = source.layout.strides_of(source.value.shape)
    written = call.output.layout.strides_of(call.output.value.shape)
    assert read is not None, call.operator.name
    assert written is not None, call.operator.name
    stepped = [stride * step for stride, step in zip(read, steps, strict=True)]
    offsets = [
        sum(b * s for b, s in zip(begin, strides, strict=True))
        for begin, strides in zip(begins, (read, written), strict=True)
    ]
    order = joined_order(sizes, stepped, written)
    sheet.call(
        "sq_copy",
        _order(sheet, order, call.operator.name),
        sheet.place(source, offsets[0]),
        sheet.place(call.output, offsets[1]),
    )


_WRITERS: dict[type[Operator], Callable[[Sheet, Any, Call], None]] = {
    Quantize: _quantize,
    Dequantize: _dequantize,
    Rearrange: _rearrange,
    Convolution: write_convolution,
    Linear: write_linear,
    Add: _add,
    GlobalAverage: _global_average,
    AveragePool: _average_pool,
    Lookup: _lookup,
    MaxPool: _max_pool,
    Clamp: _clamp,
    Pad: _pad,
    Concat: _concat,
    Slice: _slice,
}
