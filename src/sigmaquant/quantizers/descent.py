"""Coordinate descent on a layer's integers.

What error compensation has rounded, it never looks at again. Descent goes over the columns once
more and gives each the integer that is best beside all others as they are now: the layer's output
error can only fall (Behdin et al. 2023, "QuantEase").
"""

from __future__ import annotations

import torch
from torch import Tensor

from sigmaquant.quantizers.rounding import as_row

_BLOCK = 128  # columns updated together; all others are touched once a block


def descended_levels(
    rows: Tensor,
    levels: Tensor,
    scales: Tensor,
    bounds: tuple[Tensor | int, Tensor | int],
    moments: Tensor,
) -> Tensor:
    """One sweep over all columns.

    Args:
        rows: (groups, out, k) weights; rows of several widths can be stacked along ``out``.
        levels: (groups, out, k) integers to start from.
        scales: (groups, out, 1).
        bounds: smallest and largest integer; tensors broadcast over (groups, out, 1).
        moments: (groups, k, k), positive definite.

    Returns:
        (groups, out, k), integers held in float32.
    """
    low, high = (as_row(bound, rows) for bound in bounds)
    # Columns first, in steps of each row's scale: (groups, k, out).
    found = levels.mT.contiguous()
    gradient = moments @ ((rows / scales).mT - found)
    diagonal = moments.diagonal(dim1=-2, dim2=-1)
    for start in range(0, rows.shape[-1], _BLOCK):
        end = min(start + _BLOCK, rows.shape[-1])
        inside = gradient[:, start:end].clone()
        before = found[:, start:end].clone()
        own = moments[:, start:end, start:end]
        for j in range(end - start):
            column = found[:, start + j]
            wanted = column + inside[:, j] / diagonal[:, start + j, None]
            better = torch.minimum(torch.maximum(wanted.round_(), low), high)
            inside.addcmul_(own[:, :, j, None], (column - better)[:, None])
            found[:, start + j] = better
        gradient += moments[:, :, start:end] @ (before - found[:, start:end])
    return found.mT
