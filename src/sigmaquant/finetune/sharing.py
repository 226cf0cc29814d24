"""Training by several processes: each takes its part of every batch, and the gradients add up.

All of them hold the same network, so that the same sums keep it the same everywhere. A part counts
by its share of the batch's samples: the sum is the gradient of the mean over the whole batch, also
where the batch cannot be parted evenly. (But for errors relative to the reference's mean square,
which count part by part; see ``micro_batches``.)
"""

from __future__ import annotations

import torch
from torch import nn

from sigmaquant.calibration import Batch
from sigmaquant.calibration.batches import samples_between
from sigmaquant.ranks import Ranks


def own_part(batch: Batch, ranks: Ranks) -> tuple[Batch, float]:
    """The samples of a batch that this rank takes, maybe none, and their share of it."""
    start, stop = (len(batch) * index // ranks.count for index in (ranks.index, ranks.index + 1))
    return samples_between(batch, start, stop), (stop - start) / len(batch)


def sum_gradients(module: nn.Module, ranks: Ranks) -> None:
    """Give every parameter the sum of its gradients on all ranks."""
    if ranks.count == 1:
        return
    parameters = list(module.parameters())
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for parameter, gradient in zip(parameters, ranks.total(own), strict=True):
        parameter.grad = gradient
