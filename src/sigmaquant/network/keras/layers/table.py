"""Every Keras layer and every operation that is read."""

from __future__ import annotations

from sigmaquant.network.keras.call import Writer
from sigmaquant.network.keras.layers import (
    activations,
    arithmetic,
    convolution,
    pooling,
    recurrent,
    shapes,
)

LAYERS: dict[str, Writer] = {
    **activations.LAYERS,
    **arithmetic.LAYERS,
    **convolution.LAYERS,
    **pooling.LAYERS,
    **recurrent.LAYERS,
    **shapes.LAYERS,
}
"""By class, of ``keras.layers``."""

OPERATIONS: dict[str, Writer] = {**activations.OPERATIONS, **arithmetic.OPERATIONS}
"""By class, of ``keras.ops``: some have the names of layers that do other things."""

_WRITERS = {"keras.src.layers.": LAYERS, "keras.src.ops.": OPERATIONS}


def writer_of(kind: type) -> Writer | None:
    """What writes a class of Keras; None for one that is not known."""
    for package, writers in _WRITERS.items():
        if kind.__module__.startswith(package):
            return writers.get(kind.__name__)
    return None
