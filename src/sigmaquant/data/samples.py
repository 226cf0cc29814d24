"""What a reader gives: samples by index, ready for the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Samples(Protocol):
    """Samples in a fixed order."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def read(self, indices: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The samples at these places as one batch.

        Returns:
            inputs: one tensor for each input of the network, (len(indices), ...).
            target: (len(indices), ...), or None where the data has no labels.

        Raises:
            DataError: a sample cannot be read.
        """
        ...
