"""Every Keras layer that is read."""

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
"""By class, of layers of ``keras.layers`` and of a few operations of ``keras.ops``."""
