"""Weight averaging: the mean of what training passed through is often better than where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sigmaquant.quantized import QuantizedNetwork

_LARGEST_DECAY = 0.999


class WeightAverage:
    """Exponential moving average of weights, biases and step sizes over the steps of training.

    The decay after t steps is min(0.999, (1 + t) / (10 + t)): the average reaches back over about
    the last tenth of the steps, however many there are, and forgets the start.

    Args:
        student: the network in training; the average starts where it stands.
    """

    def __init__(self, student: QuantizedNetwork) -> None:
        self._student = student
        self._steps = 0
        self._average = [p.detach().clone() for p in student.parameters()]

    def update(self) -> None:
        """Take in the parameters after one more step."""
        self._steps += 1
        decay = min(_LARGEST_DECAY, (1 + self._steps) / (10 + self._steps))
        current = [p.detach() for p in self._student.parameters()]
        get_ema_multi_avg_fn(decay)(self._average, current, None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The student holds the average within the block, and what it held before behind it."""
        plain = self._student.state()
        with torch.no_grad():
            for parameter, mean in zip(self._student.parameters(), self._average, strict=True):
                parameter.copy_(mean)
        # A mean of biases and one of scales need not fit int32 together.
        self._student.raise_scales()
        try:
            yield
        finally:
            self._student.restore(plain)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the average, for ``load_state_dict``."""
        return {"steps": self._steps, "average": [mean.clone() for mean in self._average]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an average that was kept."""
        self._steps = state["steps"]
        self._average = [mean.clone() for mean in state["average"]]
