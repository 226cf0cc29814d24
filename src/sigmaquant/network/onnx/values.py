"""What is known about a value while a file is imported, and how much of it may be made.

A network is imported for two batch sizes at once. What is the same for both is a constant; a size
that differs follows the batch. Values that depend on the input have a shape only and live on
torch's ``meta`` device, which allocates nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sigmaquant.errors import ModelError

PROBED_BATCHES = (2, 3)
"""Two sizes tell a dimension that follows the batch from one that does not."""

MAX_VALUE_BYTES = 64 * 2**20
"""Of any one value of the network: 16 Mi float32, 64 channels of 512 by 512.

For one sample, or for as many as the file wants at once. Capture runs three samples and holds a
few values at a time; so it stays within 2 GiB.
"""

MAX_FOLDED_BYTES = 256 * 2**20
"""Of all constants together that are computed while a file is imported."""

META = "meta"


@dataclass(frozen=True)
class Value:
    """One value, for every batch size that is probed.

    Attributes:
        name: as in the file.
        tensors: on the CPU where the value is known, else on the meta device.
    """

    name: str
    tensors: tuple[Tensor, ...]

    @property
    def known(self) -> bool:
        """Whether it can be computed without the network's inputs."""
        return all(tensor.device.type != META for tensor in self.tensors)

    @property
    def constant(self) -> Tensor | None:
        """The value, where it is known and does not follow the batch."""
        first, *others = self.tensors
        if self.known and all(other is first or _same(first, other) for other in others):
            return first
        return None

    @property
    def distinct(self) -> tuple[Tensor, ...]:
        """One tensor for each batch size, or one for all where it is a constant."""
        return self.tensors if self.constant is None else self.tensors[:1]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape for every batch size."""
        return tuple(tuple(tensor.shape) for tensor in self.tensors)

    @property
    def dtype(self) -> torch.dtype:
        """Of the elements."""
        return self.tensors[0].dtype

    def follows_batch(self, dim: int) -> bool:
        """Whether the size of a dimension depends on the batch."""
        return len({shape[dim] for shape in self.shapes}) > 1


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


class Evaluator:
    """Runs modules on values: for real where all inputs are known, else for the shapes only.

    Args:
        batches: the batch sizes that are probed.
    """

    def __init__(self, batches: Sequence[int]) -> None:
        self._batches = tuple(batches)
        self._largest = MAX_VALUE_BYTES * (max(batches) if len(self._batches) > 1 else 1)
        self._folded_bytes = 0

    def run(
        self, module: nn.Module, inputs: Sequence[Value], outputs: Sequence[str]
    ) -> tuple[Value, ...]:
        """The values that a module computes; those behind the names of ``outputs`` have none.

        Raises:
            ModelError: a value would be larger than ``MAX_VALUE_BYTES``, or all that are computed
                at once than ``MAX_FOLDED_BYTES``.
        """
        columns = list(zip(*(value.tensors for value in inputs), strict=True))
        results = [self.checked(_run_on_meta(module, column)) for column in columns]
        if all(value.known for value in inputs):
            same = all(value.constant is not None for value in inputs)
            results = self._fold(module, columns[:1] if same else columns, results)
            results *= len(self._batches) if same else 1
        rows = list(zip(*results, strict=True))
        names = [*outputs, *[""] * len(rows)][: len(rows)]
        return tuple(Value(name, tuple(row)) for name, row in zip(names, rows, strict=True))

    def checked(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors themselves, if none is too large."""
        for tensor in tensors:
            size = math.prod(tensor.shape) * tensor.element_size()
            if size > self._largest:
                raise ModelError(
                    f"a value of the shape {tuple(tensor.shape)} would be made, which is over the "
                    f"limit of {self._largest >> 20} MiB"
                )
        return tensors

    def _fold(
        self,
        module: nn.Module,
        columns: Sequence[tuple[Tensor, ...]],
        shaped: Sequence[tuple[Tensor, ...]],
    ) -> list[tuple[Tensor, ...]]:
        self.made(tuple(itertools.chain.from_iterable(shaped[: len(columns)])))
        with torch.no_grad():
            return [as_tuple(module(*column)) for column in columns]

    def made(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As ``checked``, for constants, which are counted.

        Views count as if they took memory, because what reads them may copy them.
        """
        for tensor in self.checked(tensors):
            self.spend(tensor.numel() * tensor.element_size())
        return tensors

    def spend(self, size: int) -> None:
        """Count bytes of constants that are about to be made."""
        self._folded_bytes += size
        if self._folded_bytes > MAX_FOLDED_BYTES:
            raise ModelError(
                "the constants that the file computes from others are over the limit of "
                f"{MAX_FOLDED_BYTES >> 20} MiB together"
            )


def _run_on_meta(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    state = itertools.chain(module.named_parameters(), module.named_buffers())
    shaped = {name: tensor.to(META) for name, tensor in state}
    arguments = tuple(tensor.to(META) for tensor in inputs)
    with torch.no_grad():
        return as_tuple(torch.func.functional_call(module, shaped, arguments))


def as_tuple(result: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a module returned, one tensor or several."""
    return (result,) if isinstance(result, Tensor) else tuple(result)
