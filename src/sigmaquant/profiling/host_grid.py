"""The shapes that are timed on this host: what small networks consist of, each in a few sizes.

Containers go round: every width that the file stores is timed at several shapes of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.profiling.host_chains import OPERATORS, LayerChain, OperatorChain

# inputs, outputs, height and width, kernel, stride
_CONVOLUTIONS = (
    (3, 16, 32, 3, 1),
    (3, 16, 64, 3, 2),
    (1, 64, 48, 5, 2),
    (16, 16, 32, 3, 1),
    (8, 32, 24, 3, 1),
    (16, 32, 32, 3, 2),
    (32, 32, 16, 3, 1),
    (32, 64, 16, 3, 2),
    (64, 64, 8, 3, 1),
    (64, 128, 8, 3, 1),
    (128, 128, 6, 3, 1),
    (256, 64, 4, 3, 1),
    (8, 16, 48, 1, 1),
    (16, 32, 32, 1, 1),
    (32, 64, 16, 1, 2),
    (64, 64, 25, 1, 1),
    (64, 128, 8, 1, 1),
    (128, 256, 7, 1, 1),
    (256, 256, 4, 1, 1),
    (16, 24, 28, 5, 1),
)
# channels, height and width, kernel, stride
_DEPTHWISE = (
    (8, 48, 3, 1),
    (16, 32, 3, 2),
    (32, 32, 3, 1),
    (64, 16, 3, 1),
    (128, 8, 3, 1),
    (128, 16, 3, 2),
    (256, 6, 3, 1),
    (32, 24, 5, 1),
    (64, 25, 3, 1),
    (96, 14, 5, 2),
)
# inputs, outputs
_LINEAR = (
    (64, 10),
    (128, 128),
    (640, 128),
    (128, 640),
    (256, 512),
    (512, 512),
    (1024, 256),
    (1024, 1000),
    (2048, 512),
)
BUSY = LayerChain(LayerKind.CONV, 64, 64, 8, size=64, kernel=3)
"""What runs while power is measured."""
_IMAGES = ((8, 8, 8), (64, 8, 8), (16, 32, 32), (128, 16, 16))


def layer_chains() -> Iterator[LayerChain]:
    """Every kind of layer."""
    widths = cycle(WIDTHS)
    for inputs, outputs, size, kernel, stride in _CONVOLUTIONS:
        yield LayerChain(LayerKind.CONV, inputs, outputs, next(widths), size, kernel, stride)
    for channels, size, kernel, stride in _DEPTHWISE:
        shape = (channels, channels, next(widths), size, kernel, stride)
        yield LayerChain(LayerKind.DEPTHWISE_CONV, *shape)
    for inputs, outputs in _LINEAR:
        yield LayerChain(LayerKind.LINEAR, inputs, outputs, next(widths))


def operator_chains() -> Iterator[OperatorChain]:
    """Operators without weights, on integers and on floats."""
    for operator in OPERATORS:
        for shape in _IMAGES:
            yield OperatorChain(operator, shape)
