"""Which inputs an element of a resized dimension is made of, as the ONNX standard defines it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coordinates:
    """How one dimension is resized.

    Attributes:
        length: of the input.
        out: of the output.
        scale: output over input, as the file gives it.
        mode: ``coordinate_transformation_mode``.
    """

    length: int
    out: int
    scale: float
    mode: str

    def originals(self) -> Tensor:
        """Where each output element lies in the input: (out,), float64."""
        places = torch.arange(self.out, dtype=torch.float64)
        if self.mode == "asymmetric":
            return places / self.scale
        if self.mode == "align_corners":
            return places * ((self.length - 1) / (self.out - 1) if self.out > 1 else 0.0)
        if self.mode == "pytorch_half_pixel" and self.out == 1:
            return torch.zeros(1, dtype=torch.float64)
        return (places + 0.5) / self.scale - 0.5


def nearest_indices(coordinates: Coordinates, rule: str) -> Tensor:
    """The input element that each output copies: (out,), int64."""
    places = coordinates.originals()
    if rule == "floor":
        rounded = places.floor()
    elif rule == "ceil":
        rounded = places.ceil()
    elif rule == "round_prefer_floor":
        rounded = (places - 0.5).ceil()
    else:
        rounded = (places + 0.5).floor()
    return rounded.clamp(0, coordinates.length - 1).long()


@dataclass(frozen=True)
class Taps:
    """The inputs that each output is a weighted sum of.

    Attributes:
        indices: (taps, out), int64.
        weights: (taps, out), float32.
    """

    indices: Tensor
    weights: Tensor

    def sum(self, line: Tensor) -> Tensor:
        """The outputs for one line of inputs: (in,) to (out,)."""
        return (line[self.indices] * self.weights).sum(0)


def linear_taps(coordinates: Coordinates) -> Taps:
    """Two neighbours, weighted by their nearness."""
    places = coordinates.originals().clamp(0, coordinates.length - 1)
    below = places.floor()
    share = places - below
    return _taps(coordinates, [below, below + 1], [1 - share, share])


def cubic_taps(coordinates: Coordinates, sharpness: float, *, exclude_outside: bool) -> Taps:
    """Four neighbours (Keys 1981, eq. 15, with a = ``sharpness``)."""
    places = coordinates.originals()
    below = places.floor()
    share, a = places - below, sharpness
    indices = [below + step for step in (-1, 0, 1, 2)]
    outer = [((a * t - 5 * a) * t + 8 * a) * t - 4 * a for t in (share + 1, 2 - share)]
    inner = [((a + 2) * t - (a + 3)) * t * t + 1 for t in (share, 1 - share)]
    weights = [outer[0], *inner, outer[1]]
    if exclude_outside:
        inside = [(index >= 0) & (index < coordinates.length) for index in indices]
        weights = [weight * within for weight, within in zip(weights, inside, strict=True)]
        total = torch.stack(weights).sum(0)
        weights = [weight / total for weight in weights]
    return _taps(coordinates, indices, weights)


def _taps(coordinates: Coordinates, indices: list[Tensor], weights: list[Tensor]) -> Taps:
    """Taps whose places beyond the ends are those of the last elements."""
    places = torch.stack(indices).clamp(0, coordinates.length - 1).long()
    return Taps(places, torch.stack(weights).float())
