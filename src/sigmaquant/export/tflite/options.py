"""What a TensorFlow Lite file may look like."""

from __future__ import annotations

from typing import Literal

from sigmaquant.artifact import Frozen

Variant = Literal["fast", "small"]
Storage = Variant | Literal["micro"]
"""What decides in how many bits weights are stored."""
Interface = Literal["float32", "int8", "uint8"]


class FileOptions(Frozen):
    """Choices that change the file, not the network.

    Attributes:
        interface: element type of inputs and outputs. With integers their scale and zero point are
            in the file, and no float operator is left at the ends.
        channels_last: images come in and go out as (batch, height, width, channels), as cameras
            and TensorFlow have them, instead of the network's own (batch, channels, height, width).
    """

    interface: Interface = "float32"
    channels_last: bool = False


class TfliteOptions(FileOptions):
    """For LiteRT.

    Attributes:
        variant: "small" stores weights in as few bits as a kernel of LiteRT reads; "fast" only
            where that kernel is about as fast as int8 (see ``storage``).
    """

    variant: Variant = "small"


class MicroOptions(FileOptions):
    """For TensorFlow Lite Micro, whose kernels read other widths (see ``storage``)."""

    variant: Literal["micro"] = "micro"
