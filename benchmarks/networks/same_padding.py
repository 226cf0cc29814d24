"""TensorFlow's SAME padding: as many outputs as ceil(size / stride), the odd zero at the end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one dimension.

    >>> same_padding(32, 3, 1), same_padding(32, 3, 2), same_padding(49, 10, 2)
    ((1, 1), (0, 1), (4, 5))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A 2-d convolution with SAME padding; explicit zeros only where begin and end differ."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (torch's own name)
        """(n, in, height, width) to (n, out, ceil(height / stride), ceil(width / stride))."""
        top, bottom = same_padding(input.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(input.shape[3], self.kernel_size[1], self.stride[1])
        if top == bottom and left == right:
            return self._convolved(input, (top, left))
        return self._convolved(F.pad(input, (left, right, top, bottom)), (0, 0))

    def _convolved(self, x: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
