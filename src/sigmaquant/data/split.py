"""Holding back part of the calibration data, to judge a plan on samples it was not made with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sigmaquant.calibration import Batch
from sigmaquant.errors import DataError


def hold_back(
    batches: Sequence[Batch], fraction: float = 0.25, seed: int = 0, unit: int = 1
) -> tuple[tuple[Batch, ...], tuple[Batch, ...]]:
    """Samples to calibrate with, and samples held back.

    The samples are drawn with the seed and stay in their order, in batches of the given size.

    Args:
        batches: all samples.
        fraction: part that is held back; at least one unit each side.
        seed: of the draw.
        unit: each side gets a multiple of so many samples: the batch size of a network that
            takes no other.

    Raises:
        DataError: fewer than two units.
    """
    count = sum(len(batch) for batch in batches)
    units = count // unit
    if units < 2:
        raise DataError(
            f"{count} samples cannot be split into calibration and held-back data; give at least "
            f"{2 * unit}, better 256"
        )
    held_count = unit * min(max(round(units * fraction), 1), units - 1)
    order = torch.randperm(units * unit, generator=torch.Generator().manual_seed(seed))
    held, kept = order[:held_count].sort().values, order[held_count:].sort().values
    return _select(batches, kept), _select(batches, held)


def _select(batches: Sequence[Batch], indices: Tensor) -> tuple[Batch, ...]:
    """The samples at these places of the whole, batched as before."""
    arity = len(batches[0].inputs)
    inputs = [torch.cat([batch.inputs[i] for batch in batches])[indices] for i in range(arity)]
    targets = [batch.target for batch in batches if batch.target is not None]
    target = torch.cat(targets)[indices] if len(targets) == len(batches) else None
    size = max(len(batch) for batch in batches)
    return tuple(
        Batch(
            inputs=tuple(tensor[start : start + size] for tensor in inputs),
            target=None if target is None else target[start : start + size],
        )
        for start in range(0, len(indices), size)
    )
