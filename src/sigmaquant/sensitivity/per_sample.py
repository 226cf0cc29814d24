"""Each sample's own weight gradient, from the gradient at a layer's output.

A convolution's weight gradient is, for each place (i, j) of its kernel, a matrix product of the
output's gradient with the input shifted by (i, j). With rows of one pitch a shifted image is the
same memory read from another start, so that no patch is ever copied.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from sigmaquant.calibration.columns import as_2d
from sigmaquant.network.operators import CONVOLUTIONS, ConvolutionArguments


def weight_gradients(
    call: Node, weight_shape: tuple[int, ...], gradient: Tensor, source: Tensor
) -> Tensor:
    """The gradient of each sample by the layer's weight.

    Args:
        call: the layer's call.
        weight_shape: (out, in/groups, *kernel), or (out, in) for linear.
        gradient: by the layer's output: (batch, out, *spatial) or (batch, ..., out).
        source: the layer's input.

    Returns:
        (batch, weights).
    """
    if call.target in CONVOLUTIONS:
        source, kernel, how = as_2d(call, weight_shape[2:], source)
        gradient = gradient if gradient.dim() == 4 else gradient[:, :, None]
        return _convolution(gradient, source, kernel, how).flatten(1)
    rows = gradient.reshape(len(gradient), -1, weight_shape[0])
    return (rows.mT @ source.reshape(len(source), -1, weight_shape[1])).flatten(1)


def _convolution(
    gradient: Tensor, source: Tensor, kernel: tuple[int, ...], how: ConvolutionArguments
) -> Tensor:
    """(batch, groups, out/groups, in/groups, *kernel)."""
    phases, pitch = _phases(source, gradient.shape[2:], kernel, how)
    padded = F.pad(gradient, (0, pitch - gradient.shape[-1])).flatten(2)
    length = padded.shape[-1]
    outputs = padded.unflatten(1, (how.groups, -1))
    products = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            row, column = i * how.dilation[0], j * how.dilation[1]
            phase = phases[row % how.stride[0]][column % how.stride[1]]
            start = row // how.stride[0] * pitch + column // how.stride[1]
            shifted = phase[..., start : start + length].unflatten(1, (how.groups, -1))
            products.append(_product(outputs, shifted))
    return torch.stack(products, dim=-1)


def _product(outputs: Tensor, inputs: Tensor) -> Tensor:
    """(batch, groups, out/groups, in/groups), summed over the positions."""
    if inputs.shape[2] == 1:
        return (outputs * inputs).sum(-1, keepdim=True)
    batch, groups = outputs.shape[:2]
    product = torch.bmm(outputs.flatten(0, 1), inputs.flatten(0, 1).mT)
    return product.reshape(batch, groups, *product.shape[1:])


def _phases(
    source: Tensor, outputs: torch.Size, kernel: tuple[int, ...], how: ConvolutionArguments
) -> tuple[list[list[Tensor]], int]:
    """The padded input, split by a stride into images on which the kernel moves one by one.

    Returns:
        By row and column phase, (batch, channels, rows x pitch), and the pitch of all of them.
    """
    reach = [(k - 1) * d // s for k, d, s in zip(kernel, how.dilation, how.stride, strict=True)]
    rows, pitch = outputs[0] + reach[0] + 1, outputs[1] + reach[1]
    bottom, right = (
        wanted * s - have - pad
        for wanted, s, have, pad in zip(
            (rows, pitch), how.stride, source.shape[2:], how.padding, strict=True
        )
    )
    padded = F.pad(source, (how.padding[1], right, how.padding[0], bottom))
    vertical, horizontal = how.stride
    return [
        [padded[:, :, i::vertical, j::horizontal].flatten(2) for j in range(horizontal)]
        for i in range(vertical)
    ], pitch
