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

import functools

from sigmaquant.devices import Runtime, load_runtime
from sigmaquant.errors import UnsupportedError
from sigmaquant.export.tflite.options import Storage
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import Convolution, Weights

_RUNTIMES: dict[Storage, str] = {
    "fast": "litert-fast",
    "small": "litert-small",
    "micro": "tflm",
}
"""The search buys widths by the same records that the file is written by."""


@functools.cache
def _runtime(variant: Storage) -> Runtime:
    return load_runtime(_RUNTIMES[variant])


def is_matrix(operator: Convolution) -> bool:
    """Whether a convolution is one matrix applied to every pixel."""
    numbers = (*operator.weights.values.shape[2:], *operator.stride, operator.groups)
    unpadded = not any(side for sides in operator.padding for side in sides)
    return unpadded and all(number == 1 for number in numbers)


def is_worth_a_table(weights: Weights, variant: Storage, *, matrix: bool) -> bool:
    """Whether indices into a table of values for each channel take fewer bytes than a container.

    TensorFlow Lite Micro's DECODE expands them into its arena before the layer runs.
    """
    count, channels = weights.values.size, len(weights.scales)
    return _runtime(variant).stored(count, channels, weights.bits, matrix=matrix).in_table


def stored_bits(weights: Weights, variant: Storage, *, matrix: bool) -> int:
    """The width of the container that holds the weights: 8, 4 or 2.

    Raises:
        UnsupportedError: a width that is not one of 2 to 8 bits.
    """
    if weights.bits not in WIDTHS:
        raise UnsupportedError(f"{weights.layer}: weights of {weights.bits} bits; 2 to 8 work")
    return _runtime(variant).kernel(matrix=matrix).container_bits(weights.bits)
