"""What a runtime makes of a bitwidth: how it stores weights of each, and which kernels run them.

A device profile is of one chip with one software stack. The same chip with another runtime stores
and runs other widths, so a runtime is a part of its own, which ``with_runtime`` puts on a profile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Self

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.devices.evidence import Sourced
from sigmaquant.devices.figures import PositiveFigure, Text
from sigmaquant.layers import WIDTHS

PLAIN_BITS = 8
"""The width that every runtime has kernels for, and that its times are compared with."""


class Kernel(Sourced):
    """How weights of one kind of layer are stored and run.

    Attributes:
        containers: bits of the containers that weights are stored in; a weight takes the next one
            that holds it.
        time_over_int8: by container, the time over that of the device's kernel for 8 bits; None
            where the device profile's own figures of the container's width hold.
        table_time_over_int8: the same of weights in a table of values; None where there are none.
    """

    containers: Annotated[tuple[WeightBits, ...], pydantic.Field(min_length=1)]
    time_over_int8: dict[WeightBits, PositiveFigure] | None = None
    table_time_over_int8: PositiveFigure | None = None

    def container_bits(self, weight_bits: int) -> int:
        """Bits that a weight of this width takes."""
        found: int = next(bits for bits in sorted(self.containers) if bits >= weight_bits)
        return found

    @pydantic.model_validator(mode="after")
    def _every_width_has_a_place(self) -> Self:
        if PLAIN_BITS not in self.containers:
            raise ValueError(f"containers lack {PLAIN_BITS} bits, which hold any width")
        if self.time_over_int8 is not None and set(self.time_over_int8) != set(self.containers):
            raise ValueError("time_over_int8 needs a figure for each of the containers")
        return self


class WeightCode(Sourced):
    """Weights in an entropy code: each takes about as many bits as its layer's entropy.

    Attributes:
        rounding: of the weights that the figures are of, as ``quantize`` calls it.
        mean_bits: by width, the bits that a weight takes on average.
        over_entropy: what it takes, where the entropy of the layer's own weights is known, over
            this.
        operator_bytes: what undoes the code, in a file. Weights for which it saves less are stored
            without it.
    """

    rounding: Text
    mean_bits: dict[WeightBits, PositiveFigure]
    over_entropy: Annotated[float, pydantic.Field(ge=1, allow_inf_nan=False)]
    operator_bytes: pydantic.NonNegativeInt

    def bits(self, weight_bits: int, entropy_bits: float | None) -> float:
        """Bits that a weight of this width takes on average, in a layer of that entropy."""
        if entropy_bits is None:
            return self.mean_bits[weight_bits]
        return min(self.over_entropy * entropy_bits, weight_bits)

    def overhead_bytes(self, weights: int) -> int:
        """What a file of so many weights takes beyond their ``bits``, whether in code or not."""
        saved_bits = max(width - mean for width, mean in self.mean_bits.items())
        return min(self.operator_bytes, math.ceil(weights * saved_bits / 8))

    @pydantic.model_validator(mode="after")
    def _every_width_has_a_mean(self) -> Self:
        if set(self.mean_bits) != set(WIDTHS):
            raise ValueError("mean_bits needs a figure for each of 2 to 8 bits")
        return self


class ValueTables(Sourced):
    """Weights as indices into a table of values for each channel.

    Attributes:
        overhead_bytes: what a layer's table takes beside indices and values.
    """

    overhead_bytes: pydantic.NonNegativeInt

    def stored_bytes(self, weights: int, channels: int, weight_bits: int) -> int:
        """A layer's indices and values: a channel has no more values than weights."""
        entries = channels * min(1 << weight_bits, weights // channels)
        return math.ceil(weights * weight_bits / 8) + entries + self.overhead_bytes


class FileOverhead(Sourced):
    """Bytes of a file beside its packed weights and float parameters.

    Attributes:
        channel_bytes: for each output channel of a layer: scales, bias.
        channel_count_bytes: for each channel, but once for all layers with so many channels.
        step_bytes: for each operator of the schedule.
        file_bytes: once.
    """

    channel_bytes: pydantic.NonNegativeInt
    channel_count_bytes: pydantic.NonNegativeInt = 0
    step_bytes: pydantic.NonNegativeInt
    file_bytes: pydantic.NonNegativeInt


@dataclass(frozen=True)
class StoredWeights:
    """What becomes of one layer's weights at one width.

    Attributes:
        size_bytes: containers, code, or indices and table.
        container_bits: of the container that holds a weight, or would without the table.
        in_table: whether they are indices into a table of values.
        time_over_int8: of the kernel that runs them; None where the device's own figures hold.
    """

    size_bytes: int
    container_bits: int
    in_table: bool
    time_over_int8: float | None


class Runtime(Frozen):
    """One runtime, as far as widths are concerned.

    Attributes:
        name: what users call it.
        title: in words.
        activation_bits: widths of activations that it runs; None: all that the device does.
        pointwise_as_matrix: whether a convolution of 1 x 1 at stride 1 is run as a matrix.
        matrix: for linear layers.
        window: for convolutions.
        code: of the weights in the file; None where it holds the containers themselves.
        tables: where narrow weights may be looked up.
        overhead: what the file holds beside.
    """

    name: Text
    title: Text
    activation_bits: tuple[ActivationBits, ...] | None = None
    pointwise_as_matrix: bool = False
    matrix: Kernel
    window: Kernel
    code: WeightCode | None = None
    tables: ValueTables | None = None
    overhead: FileOverhead

    def kernel(self, *, matrix: bool) -> Kernel:
        """The kernel for a matrix, or for a window that slides."""
        return self.matrix if matrix else self.window

    def stored(
        self,
        weights: int,
        channels: int,
        weight_bits: int,
        *,
        matrix: bool,
        entropy_bits: float | None = None,
    ) -> StoredWeights:
        """How a layer of so many weights is stored: in a table where that takes fewer bytes.

        Args:
            weights: number of weights.
            channels: number of output channels.
            weight_bits: their width.
            matrix: whether the layer is one matrix, not a window that slides.
            entropy_bits: of a weight at this width; None where it is not known.
        """
        kernel = self.kernel(matrix=matrix)
        container = kernel.container_bits(weight_bits)
        bits = self.code.bits(container, entropy_bits) if self.code else container
        size = math.ceil(weights * bits / 8)
        if self.tables is not None and kernel.table_time_over_int8 is not None:
            in_table = self.tables.stored_bytes(weights, channels, weight_bits)
            if in_table < size:
                return StoredWeights(in_table, container, True, kernel.table_time_over_int8)
        times = kernel.time_over_int8
        time = None if times is None else times[container]
        return StoredWeights(size, container, False, time)
