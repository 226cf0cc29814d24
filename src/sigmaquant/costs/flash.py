"""Flash: what an exported file stores."""

from __future__ import annotations

import math

from sigmaquant.devices.storage import WeightStorage
from sigmaquant.layers import LayerSpec, LayerTable

_SCALE_BYTES = 4  # float32, one an output channel
_BIAS_BYTES = 4  # int32, one an output channel
_FLOAT_BYTES = 4


def packed_weight_bytes(layer: LayerSpec, weight_bits: int, storage: WeightStorage) -> int:
    """The layer's weights as stored, padded to whole bytes once."""
    return math.ceil(layer.weights * storage.bits[weight_bits] / 8)


def layer_flash_bytes(layer: LayerSpec, weight_bits: int, storage: WeightStorage) -> int:
    """Packed weights, scales and biases of one layer."""
    channel_bytes = layer.channels * (_SCALE_BYTES + _BIAS_BYTES)
    return packed_weight_bytes(layer, weight_bits, storage) + channel_bytes


def float_parameter_bytes(table: LayerTable) -> int:
    """Parameters outside the quantized layers."""
    return _FLOAT_BYTES * table.float_parameters
