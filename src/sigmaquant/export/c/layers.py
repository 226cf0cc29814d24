"""Writers of the layers with weights: packed words, biases and multipliers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sigmaquant.export.c.layout import positions
from sigmaquant.export.c.literals import record
from sigmaquant.export.c.packing import BLOCK, pack_matrix, pack_row
from sigmaquant.export.c.records import WINDOW_FIELDS, encoding_of, range_of, window_of
from sigmaquant.export.c.schedule import Call
from sigmaquant.export.c.sheet import Sheet, multiplier_words
from sigmaquant.export.c.values import BYTE_BITS
from sigmaquant.lowering.arithmetic import accumulator_scale, layer_multiplier
from sigmaquant.lowering.program import Convolution, Encoding, Int8Array, Int32Array, Linear

_COLUMNS = 2
_INT16_BYTES = 2
_POINTER_BYTES = 8  # on any target; a microcontroller needs four


def write_convolution(sheet: Sheet, operator: Convolution, call: Call) -> None:
    """Append a convolution; one with a filter a channel has a kernel of its own."""
    if _is_depthwise(operator):
        _depthwise(sheet, operator, call)
        return
    values = operator.weights.values
    rows = np.moveaxis(values, 1, -1).reshape(len(values), -1)  # (y, x, channel) in a row
    window = window_of(call, values.shape[2:], operator.stride, operator.padding, operator.dilation)
    _layer(sheet, operator, call, rows, window, operator.groups)


def _is_depthwise(operator: Convolution) -> bool:
    filters, channels = operator.weights.values.shape[:2]
    return operator.groups > 1 and channels == 1 and filters == operator.groups


def write_linear(sheet: Sheet, operator: Linear, call: Call) -> None:
    """A convolution with a kernel of 1 x 1 over all vectors, side by side."""
    source = call.inputs[0]
    places = math.prod(source.value.shape[:-1])
    rows = operator.weights.values
    if len(source.value.shape) == 1:
        rows = rows[:, np.argsort(positions(source.layout))]
    if call.output.value.encoding is None:
        _linear_to_float(sheet, operator, call, rows, places)
        return
    sizes = (1, places, rows.shape[1], 1, places, 1, 1, 1, 1, 1, 1, 0, 0)
    window = dict(zip(WINDOW_FIELDS, sizes, strict=True))
    _layer(sheet, operator, call, rows, window, 1)


def _layer(
    sheet: Sheet,
    operator: Convolution | Linear,
    call: Call,
    rows: Int8Array,
    window: dict[str, int],
    groups: int,
) -> None:
    """``rows``: (out, length) in the order in which the kernel gathers its inputs."""
    source = encoding_of(call.inputs[0])
    packed = [pack_matrix(part, operator.weights.bits) for part in np.split(rows, groups)]
    scales = operator.weights.scales
    multipliers = layer_multiplier(source.scale, scales, encoding_of(call.output).scale)
    layer = sheet.record(
        "sq_convolution",
        {
            "window": record(window),
            "matrix": _matrix(
                sheet, operator, source, np.concatenate(packed), multipliers, groups, rows
            ),
            "groups": groups,
            "group_words": len(packed[0]),
            "zero_point": source.zero_point,
            "bits": call.inputs[0].bits,
            "range": range_of(call.output),
        },
    )
    scratch = sheet.scratch(_COLUMNS * _panel_bytes(rows.shape[1]))
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.needs("sq_panel", "sq_requantize", "sq_values")
    sheet.call("sq_convolve", layer, *places, f"{scratch}.numbers")


def _panel_bytes(length: int) -> int:
    """One gathered column."""
    return -(-length // BLOCK) * BLOCK * _INT16_BYTES


def _folded_bias(operator: Convolution | Linear, source: Encoding) -> Int32Array:
    """The bias less what the input's zero point adds to every sum; it fits as the sums do."""
    weights = operator.weights.values.astype(np.int64)
    added = source.zero_point * weights.reshape(len(weights), -1).sum(axis=1)
    folded: Int32Array = (operator.bias - added).astype(np.int32)
    return folded


def _matrix(
    sheet: Sheet,
    operator: Convolution | Linear,
    source: Encoding,
    words: npt.NDArray[np.uint32],
    multipliers: npt.NDArray[np.float32] | None,
    groups: int,
    rows: Int8Array,
) -> str:
    """The initialiser of a ``sq_matrix``."""
    steps = (
        "0" if multipliers is None else sheet.table("multipliers", multiplier_words(multipliers))
    )
    names = (
        sheet.table("weights", words),
        sheet.table("bias", _folded_bias(operator, source)),
        steps,
        str(len(rows) // groups),
        str(rows.shape[1]),
        sheet.for_width("dot", operator.weights.bits),
    )
    return "{" + ", ".join(names) + "}"


def _linear_to_float(
    sheet: Sheet, operator: Linear, call: Call, rows: Int8Array, places: int
) -> None:
    source = encoding_of(call.inputs[0])
    words = pack_matrix(rows, operator.weights.bits)
    scales = accumulator_scale(source.scale, operator.weights.scales)
    layer = sheet.record(
        "sq_float_layer",
        {
            "matrix": _matrix(sheet, operator, source, words, None, 1, rows),
            "scales": sheet.table("scales", scales),
            "places": places,
            "bits": call.inputs[0].bits,
        },
    )
    scratch = sheet.scratch(_panel_bytes(rows.shape[1]))
    ends = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.needs("sq_panel", "sq_values")
    sheet.call("sq_multiply_to_float", layer, *ends, f"{scratch}.numbers")


def _depthwise(sheet: Sheet, operator: Convolution, call: Call) -> None:
    weights, source = operator.weights, encoding_of(call.inputs[0])
    channels, taps = len(weights.values), math.prod(weights.values.shape[2:])
    row = np.moveaxis(weights.values, 0, -1).reshape(-1)  # (y, x, channel)
    multipliers = layer_multiplier(source.scale, weights.scales, encoding_of(call.output).scale)
    kernel = weights.values.shape[2:]
    window = window_of(call, kernel, operator.stride, operator.padding, operator.dilation)
    layer = sheet.record(
        "sq_depthwise",
        {
            "window": record(window),
            "words": sheet.table("weights", pack_row(row, weights.bits)),
            "unpack": sheet.for_width("unpack", weights.bits),
            "bias": sheet.table("bias", _folded_bias(operator, source)),
            "multipliers": sheet.table("multipliers", multiplier_words(multipliers)),
            "zero_point": source.zero_point,
            "bits": call.inputs[0].bits,
            "range": range_of(call.output),
        },
    )
    size = taps * _POINTER_BYTES + (taps + 1) * channels
    if call.inputs[0].bits < BYTE_BITS:
        size += taps * channels
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.needs("sq_requantize", "sq_values")
    sheet.call("sq_convolve_depthwise", layer, *places, f"&{sheet.scratch(size)}")
