"""Writers of the layers with weights: packed words, biases and multipliers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sigmaquant.export.c.layout import positions
from sigmaquant.export.c.literals import record
from sigmaquant.export.c.multipliers import Multipliers, multipliers_of
from sigmaquant.export.c.packing import (
    BLOCK,
    gathered_elements,
    pack_matrix,
    pack_row,
    row_words,
)
from sigmaquant.export.c.records import WINDOW_FIELDS, encoding_of, range_of, window_of
from sigmaquant.export.c.schedule import Call
from sigmaquant.export.c.sheet import Sheet
from sigmaquant.export.c.values import BYTE_BITS
from sigmaquant.lowering.arithmetic import accumulator_scale, layer_multiplier
from sigmaquant.lowering.program import Convolution, Encoding, Int8Array, Int32Array, Linear

_COLUMNS = 2
_INT16_BYTES = 2
_WORD_BYTES = 4
_FOUR = 4  # elements that are gathered together
_POINTER_BYTES = 8  # on any target; a microcontroller needs four

_FEWEST_PLACES = {3: 32, 5: 16, 6: 16, 7: 16}
"""Widths whose fields fill words badly cost more in registers than 8 bits do; from so many outputs
a filter on, the 3 to 5 cycles that unpack a weight first are earned back (emulated, Cortex-M4 and
M7)."""


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
    bits, source = operator.weights.bits, encoding_of(call.inputs[0])
    places = window["output_height"] * window["output_width"]
    columns = min(places, _COLUMNS)
    multipliers = _multipliers(operator, call)
    widened_words = len(rows) // groups * row_words(rows.shape[1], BYTE_BITS)
    if rows.shape[1] < BLOCK or not _widens_first(sheet, bits, places, widened_words):
        widened_words = 0  # a row without a whole block is as fast in registers
    layer = sheet.record(
        "sq_convolution",
        {
            "window": record(window),
            "matrix": _matrix(
                sheet, operator, source, rows, groups, columns, multipliers, bool(widened_words)
            ),
            "groups": groups,
            "group_words": len(rows) // groups * row_words(rows.shape[1], bits),
            "columns": columns,
            "widened_words": widened_words,
            "zero_point": source.zero_point,
            "bits": call.inputs[0].bits,
            "range": range_of(call.output, multipliers),
        },
    )
    kernel_bits = BYTE_BITS if widened_words else bits
    panel_bytes = columns * _panel_bytes(rows.shape[1], kernel_bits)
    scratch = sheet.scratch(panel_bytes + widened_words * _WORD_BYTES)
    ends = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.needs("sq_multiply", "sq_panel", "sq_requantize", "sq_values")
    sheet.call("sq_convolve", layer, *ends, f"{scratch}.numbers")


def _widens_first(sheet: Sheet, bits: int, places: int, widened_words: int) -> bool:
    """Whether the weights of a group are unpacked to scratch before they are used."""
    fits = widened_words * _WORD_BYTES <= sheet.weight_scratch_bytes
    return bits in _FEWEST_PLACES and places >= _FEWEST_PLACES[bits] and fits


def _panel_bytes(length: int, kernel_bits: int) -> int:
    """One gathered column: whole fours, and as far as the last word's fields reach."""
    elements = max(length, gathered_elements(length, kernel_bits))
    return -(-elements // _FOUR) * _FOUR * _INT16_BYTES


def _folded_bias(operator: Convolution | Linear, source: Encoding) -> Int32Array:
    """The bias less what the input's zero point adds to every sum; it fits as the sums do."""
    weights = operator.weights.values.astype(np.int64)
    added = source.zero_point * weights.reshape(len(weights), -1).sum(axis=1)
    folded: Int32Array = (operator.bias - added).astype(np.int32)
    return folded


def _multipliers(operator: Convolution | Linear, call: Call) -> Multipliers:
    source, weights = encoding_of(call.inputs[0]), operator.weights
    magnitudes = np.abs(weights.values.astype(np.int64)).reshape(len(weights.values), -1)
    reach = magnitudes.sum(axis=1) * source.highest + np.abs(operator.bias.astype(np.int64))
    output = encoding_of(call.output)
    return multipliers_of(layer_multiplier(source.scale, weights.scales, output.scale), reach)


def _matrix(
    sheet: Sheet,
    operator: Convolution | Linear,
    source: Encoding,
    rows: Int8Array,
    groups: int,
    columns: int,
    multipliers: Multipliers | None,
    widens_first: bool = False,
) -> str:
    """The initialiser of a ``sq_matrix``."""
    bits, count = operator.weights.bits, len(rows) // groups
    words = np.concatenate([pack_matrix(part, bits) for part in np.split(rows, groups)])
    widens = bits < BYTE_BITS and (widens_first or count % 2)
    kernel_bits = BYTE_BITS if widens_first else bits
    fields = (
        sheet.table("weights", words),
        sheet.table("bias", _folded_bias(operator, source)),
        sheet.table("multipliers", multipliers.words) if multipliers else "0",
        str(count),
        str(rows.shape[1]),
        str(bits),
        str(row_words(rows.shape[1], bits)),
        sheet.for_width("dot" if columns > 1 else "dot_one", kernel_bits),
        sheet.for_width("widen", bits) if widens else "0",
    )
    return "{" + ", ".join(fields) + "}"


def _linear_to_float(
    sheet: Sheet, operator: Linear, call: Call, rows: Int8Array, places: int
) -> None:
    source = encoding_of(call.inputs[0])
    scales = accumulator_scale(source.scale, operator.weights.scales)
    layer = sheet.record(
        "sq_float_layer",
        {
            "matrix": _matrix(sheet, operator, source, rows, 1, 1, None),
            "scales": sheet.table("scales", scales),
            "places": places,
            "bits": call.inputs[0].bits,
        },
    )
    scratch = sheet.scratch(_panel_bytes(rows.shape[1], operator.weights.bits))
    ends = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.needs("sq_multiply", "sq_panel", "sq_values")
    sheet.call("sq_multiply_to_float", layer, *ends, f"{scratch}.numbers")


def _depthwise(sheet: Sheet, operator: Convolution, call: Call) -> None:
    weights, source = operator.weights, encoding_of(call.inputs[0])
    kernel = weights.values.shape[2:]
    window = window_of(call, kernel, operator.stride, operator.padding, operator.dilation)
    multipliers = _multipliers(operator, call)
    packed = _packed_channels(weights.values, weights.bits)
    widens = weights.bits < BYTE_BITS
    layer = sheet.record(
        "sq_depthwise",
        {
            "window": record(window),
            "words": sheet.table("weights", np.concatenate(packed)),
            "widen": sheet.for_width("widen", weights.bits) if widens else "0",
            "block_words": len(packed[0]),
            "bias": sheet.table("bias", _folded_bias(operator, source)),
            "multipliers": sheet.table("multipliers", multipliers.words),
            "zero_point": source.zero_point,
            "bits": call.inputs[0].bits,
            "range": range_of(call.output, multipliers),
        },
    )
    channels = min(-(-len(weights.values) // _FOUR) * _FOUR, BLOCK)
    byte_rows = widens + (call.inputs[0].bits < BYTE_BITS)
    tap_bytes = _POINTER_BYTES + (_INT16_BYTES + byte_rows) * channels
    size = math.prod(kernel) * tap_bytes + (2 * _WORD_BYTES + 1) * channels
    places = sheet.place(call.inputs[0]), sheet.place(call.output)
    sheet.needs("sq_requantize", "sq_values")
    sheet.call("sq_convolve_depthwise", layer, *places, f"&{sheet.scratch(size)}")


def _packed_channels(values: Int8Array, bits: int) -> list[npt.NDArray[np.uint32]]:
    """Weights (channels, 1, *kernel), packed by blocks of channels in the order (y, x, channel)."""
    parts = (values[first : first + BLOCK] for first in range(0, len(values), BLOCK))
    return [pack_row(np.moveaxis(part, 0, -1).reshape(-1), bits) for part in parts]
