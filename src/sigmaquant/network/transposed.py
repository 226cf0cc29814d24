"""The numbers of a transposed convolution written as a plain one.

A transposed convolution is a plain one of stride 1, with the kernel flipped and the channels
swapped, over its input with stride - 1 zeros between the values (Dumoulin and Visin 2016,
relationship 14; dilation spreads the kernel). These are real zeros, which integers hold exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


def plain_weight(weight: Tensor, groups: int) -> Tensor:
    """The weight of the plain convolution.

    Args:
        weight: (in, out/groups, *kernel), as transposed convolutions hold it.
        groups: of the convolution.

    Returns:
        (out, in/groups, *kernel).
    """
    grouped: Tensor = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return grouped.flip(tuple(range(2, weight.dim())))


@dataclass(frozen=True)
class SpreadDimension:
    """One spatial dimension of a transposed convolution.

    Attributes:
        size: of the input.
        kernel, stride, padding, output_padding, dilation: as PyTorch calls them.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    output_padding: int
    dilation: int

    @property
    def sides(self) -> tuple[int, int]:
        """Zeros before and after the spread input; negative where values are cut off.

        The spread input has stride - 1 zeros behind its last value too.
        """
        before = self.dilation * (self.kernel - 1) - self.padding
        return before, before + self.output_padding - (self.stride - 1)

    @property
    def outputs(self) -> int:
        """Size of the output."""
        return self.size * self.stride + sum(self.sides) - self.dilation * (self.kernel - 1)

    @property
    def value_taps(self) -> int:
        """Pairs of an output and a kernel place that meet no zero put between values.

        Those that meet padding count, as they do for every convolution.
        """
        first = self.sides[0]
        return sum(
            (output + place * self.dilation - first) % self.stride == 0
            for output in range(self.outputs)
            for place in range(self.kernel)
        )


def zero_taps(dimensions: Sequence[SpreadDimension]) -> int:
    """Multiplications for one pair of channels that meet a zero put between values."""
    executed = math.prod(each.outputs * each.kernel for each in dimensions)
    return executed - math.prod(each.value_taps for each in dimensions)
