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
from sigmaquant.export.c.multipliers import multipliers_of
from sigmaquant.export.c.records import encoding_of, range_of, window_of
from sigmaquant.export.c.schedule import Call, Rearrange, Tensor
from sigmaquant.export.c.sheet import Sheet
from sigmaquant.export.c.values import BYTE_BITS
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
    FloatOperator,
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
    limits = {
        "zero_point": encoding.zero_point,
        "highest": encoding.highest,
        "bits": call.output.bits,
    }
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
        call.inputs[0].bits,
        sheet.place(call.inputs[0]),
        sheet.place(call.output),
    )


def _softmax(sheet: Sheet, _: FloatOperator, call: Call) -> None:
    length = call.output.value.shape[-1]
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.call("sq_softmax", call.output.elements // length, length, *places)


def _rearrange(sheet: Sheet, _: Rearrange, call: Call) -> None:
    _copy(sheet, _between(sheet, call), (call.inputs[0], 0), (call.output, 0))


def _copy(sheet: Sheet, order: str, source: tuple[Tensor, int], target: tuple[Tensor, int]) -> None:
    """Copy from a tensor's element of that index to another's."""
    bits = target[0].bits
    assert source[0].bits == bits, source[0].buffer
    if bits == BYTE_BITS:
        sheet.call("sq_copy", order, sheet.place(*source), sheet.place(*target))
        return
    ends = (sheet.place(source[0]), source[1], sheet.place(target[0]), target[1])
    sheet.call("sq_copy_packed", order, bits, *ends)


def _add(sheet: Sheet, operator: Add, call: Call) -> None:
    fields = _sum_fields(operator, call)
    tensors = (*call.inputs, call.output)
    places = [sheet.place(tensor) for tensor in tensors]
    if not _has_packed(call):
        sheet.call("sq_add", sheet.record("sq_sum", fields), *places)
        return
    widths = ("left_bits", "right_bits", "output_bits")
    stored = dict(zip(widths, (tensor.bits for tensor in tensors), strict=True))
    sheet.needs("sq_add", "sq_values")
    packed = sheet.record("sq_packed_sum", {"sum": record(fields), **stored})
    sheet.call("sq_add_packed", packed, *places)


def _sum_fields(operator: Add, call: Call) -> dict[str, int]:
    """The fields of a ``sq_sum``."""
    left, right = (encoding_of(tensor) for tensor in call.inputs)
    output, bits = encoding_of(call.output), operator.fraction_bits
    ratios = add_ratios(left, right, output, bits, operator.name)
    zeros = left.zero_point * ratios[0] + right.zero_point * ratios[1]
    return {
        "count": call.output.elements,
        "left_ratio": ratios[0],
        "right_ratio": ratios[1],
        "constant": (output.zero_point << bits) - zeros,
        "fraction_bits": bits,
        "highest": output.highest,
    }


def _has_packed(call: Call) -> bool:
    """Whether values that it reads or writes share bytes."""
    return any(tensor.bits < BYTE_BITS for tensor in (*call.inputs, call.output))


def _lookup(sheet: Sheet, operator: Lookup, call: Call) -> None:
    _look_up(sheet, call, sheet.table(f"{operator.function}_table", operator.table))


def _look_up(sheet: Sheet, call: Call, table: str) -> None:
    (source,), output = call.inputs, call.output
    if _has_packed(call):
        ends = (source.bits, sheet.place(source), output.bits, sheet.place(output))
        sheet.call("sq_look_up_packed", table, output.elements, *ends)
    else:
        sheet.call("sq_look_up", table, output.elements, sheet.place(source), sheet.place(output))


def _clamp(sheet: Sheet, operator: Clamp, call: Call) -> None:
    """Packed values have so few levels that a table of the limited ones is small."""
    low, high = operator.low, operator.high
    if _has_packed(call):
        levels = np.arange(encoding_of(call.output).highest + 1)
        limited = np.clip(levels, low, high).astype(np.uint8)
        _look_up(sheet, call, sheet.table("clamp_table", limited))
        return
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.call("sq_clamp", low, high, call.output.elements, *places)


def _max_pool(sheet: Sheet, operator: MaxPool, call: Call) -> None:
    window = window_of(call, operator.kernel, operator.stride, operator.padding, operator.dilation)
    pool = sheet.record("sq_window", window)
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    if _has_packed(call):
        sheet.call("sq_max_pool_packed", pool, call.output.bits, *places)
    else:
        sheet.call("sq_max_pool", pool, *places)


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
    source = encoding_of(call.inputs[0])
    reach = window["kernel_height"] * window["kernel_width"] * source.highest
    multipliers = multipliers_of(np.reshape(multiplier, 1), np.array([reach]))
    pool = sheet.record(
        "sq_average",
        {
            "window": record(window),
            "multiplier": f"{multipliers.words[0]}u",
            "zero_point": source.zero_point,
            "bits": call.inputs[0].bits,
            "range": range_of(call.output, multipliers),
        },
    )
    sheet.needs("sq_requantize", "sq_values")
    packed = call.inputs[0].bits < BYTE_BITS
    kernel = "sq_average_pool_packed" if packed else "sq_average_pool"
    sheet.call(kernel, pool, sheet.place(call.inputs[0]), sheet.place(call.output))


def _pad(sheet: Sheet, operator: Pad, call: Call) -> None:
    bits = call.output.bits
    byte = sum(encoding_of(call.output).zero_point << shift for shift in range(0, BYTE_BITS, bits))
    sheet.call("sq_fill", byte, call.output.bytes, sheet.place(call.output))
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
    written_order = _order(sheet, order, call.operator.name)
    _copy(sheet, written_order, (source, offsets[0]), (call.output, offsets[1]))


_WRITERS: dict[type[Operator], Callable[[Sheet, Any, Call], None]] = {
    Quantize: _quantize,
    Dequantize: _dequantize,
    FloatOperator: _softmax,
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
