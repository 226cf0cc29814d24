"""What a TensorFlow Lite file may look like."""

from __future__ import annotations

from typing import Literal

from sigmaquant.artifact import Frozen

Variant = Literal["fast", "small"]
Interface = Literal["float32", "int8", "uint8"]


class TfliteOptions(Frozen):
    """Choices that change the file, not the network.

    Attributes:
        variant: "small" stores weights in as few bits as a kernel of LiteRT reads; "fast" only
            where that kernel is about as fast as int8 (see ``storage``).
        interface: element type of inputs and outputs. With integers their scale and zero point are
            in the file, and no float operator is left at the ends.
        channels_last: images come in and go out as (batch, height, width, channels), as cameras
            and TensorFlow have them, instead of the network's own (batch, channels, height, width).
    """

    variant: Variant = "small"
    interface: Interface = "float32"
    channels_last: bool = False
