"""In how many bits a layer's weights are stored.

LiteRT's kernels read weights of 8, 4 and 2 bits. Measured with ai-edge-litert 2.3.0 and int8
activations:

======================= ======================= ===================== ==========================
weights                 FULLY_CONNECTED         CONV_2D               DEPTHWISE_CONV_2D
======================= ======================= ===================== ==========================
8 bits                  XNNPACK                 XNNPACK               XNNPACK
4 bits                  XNNPACK, 1.1-1.2x       3-4.6x the int8 time  3-4.6x the int8 time
2 bits                  XNNPACK, 3-4.7x         refused when loaded   refused when loaded
======================= ======================= ===================== ==========================

So a width takes the next wider container that its kernel has and, in the "fast" variant, that is
about as fast as int8. A convolution of 1 x 1 at stride 1 is a FULLY_CONNECTED and stored as one.

TensorFlow Lite Micro ("micro") reads int4 in CONV_2D and DEPTHWISE_CONV_2D alone, so there 1 x 1
stays CONV_2D, and other layers are int8 or, where that is smaller, indices into tables of values.
"""

from __future__ import annotations

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.tflite.options import Storage
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import Convolution, Weights

_CONTAINERS: dict[tuple[str, Storage], tuple[int, ...]] = {
    ("matrix", "fast"): (4, 8),
    ("matrix", "small"): (2, 4, 8),
    ("window", "fast"): (8,),
    ("window", "small"): (4, 8),
    ("matrix", "micro"): (8,),
    ("window", "micro"): (4, 8),
}
_TABLE_BYTES = 450
"""What a table costs beside its values: DECODE, its tensors, and vectors that the compressed file
no longer shares. Measured with tflite-micro 0.dev20261023 on files with and without tables."""
_TABLE_CHANNEL_BYTES = 20
"""The same for each channel: its scale and zero point are stored once more."""


def is_matrix(operator: Convolution) -> bool:
    """Whether a convolution is one matrix applied to every pixel."""
    numbers = (*operator.weights.values.shape[2:], *operator.stride, operator.groups)
    unpadded = not any(side for sides in operator.padding for side in sides)
    return unpadded and all(number == 1 for number in numbers)


def is_worth_a_table(weights: Weights, container_bits: int) -> bool:
    """Whether indices into a table of values for each channel take fewer bytes than a container.

    TensorFlow Lite Micro's DECODE expands them into its arena before the layer runs.
    """
    count, channels = weights.values.size, len(weights.scales)
    indices, entries = count * weights.bits / 8, channels * 2**weights.bits
    beside = _TABLE_BYTES + channels * _TABLE_CHANNEL_BYTES
    return bool(indices + entries + beside < count * container_bits / 8)


def stored_bits(weights: Weights, variant: Storage, *, matrix: bool) -> int:
    """The width of the container that holds the weights: 8, 4 or 2.

    Raises:
        UnsupportedError: a width that is not one of 2 to 8 bits.
    """
    if weights.bits not in WIDTHS:
        raise UnsupportedError(f"{weights.layer}: weights of {weights.bits} bits; 2 to 8 work")
    containers = _CONTAINERS["matrix" if matrix else "window", variant]
    return next(bits for bits in containers if bits >= weights.bits)
