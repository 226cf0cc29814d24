"""The processes that share one piece of work: a rank is one of them.

Work is written once, for any number of ranks, and one process is the case of a single rank. What
every rank does, it does with the same data in the same order; so all reach the same meetings, and
none waits for one that never comes. Who started the processes is ``launch``'s business.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class Ranks(Protocol):
    """The processes of one launch, seen from one of them.

    Each method is a meeting: it has to be called on every rank, in the same order everywhere. An
    error that one rank raises in ``work`` is raised on all of them, so that none is left waiting.
    """

    @property
    def index(self) -> int:
        """Which of them this one is, from 0; the first is the main one, which writes and prints."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do something on every rank; each gets the results of all, in the order of ranks.

        Raises:
            PeerError: another rank ended, hung, or raised what is none of our typed errors.
        """
        ...

    def from_main(self, work: Callable[[], T]) -> T:
        """Do something on the main rank alone, while the others wait for its result.

        Raises:
            PeerError: as ``together``.
        """
        ...

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums over all ranks of tensors whose shapes and types are the same everywhere.

        Raises:
            PeerError: as ``together``.
        """
        ...


@dataclass(frozen=True)
class SingleRank:
    """The only process: every meeting is over at once."""

    index: int = 0
    count: int = 1

    def together(self, work: Callable[[], T]) -> list[T]:
        """See ``Ranks.together``."""
        return [work()]

    def from_main(self, work: Callable[[], T]) -> T:
        """See ``Ranks.from_main``."""
        return work()

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``Ranks.total``."""
        return list(tensors)


SINGLE = SingleRank()


def on_each(ranks: Ranks, work: Callable[[], T]) -> T:
    """The result of each rank for itself, too large to be sent, once all have theirs.

    Raises:
        PeerError: see ``Ranks.together``.
    """
    found: list[T] = []
    ranks.together(lambda: found.append(work()))
    return found[0]


@contextlib.contextmanager
def only_main_logs(ranks: Ranks) -> Iterator[None]:
    """Keep the package's logs and progress bars off the other ranks while the block runs."""
    logger = logging.getLogger("sigmaquant")
    level = logger.level
    if ranks.index > 0:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def differing_rank(ranks: Ranks, value: str) -> int | None:
    """The first rank whose value is another than the main rank's, or None."""
    values = ranks.together(lambda: value)
    return next((index for index, found in enumerate(values) if found != values[0]), None)
