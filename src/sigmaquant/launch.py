"""The processes that ``accelerate launch``, torchrun or MPI started, as ranks.

The one module that imports Hugging Face Accelerate, and only where a launcher started more than one
process: Accelerate knows the launchers, the device of each process and the way they talk.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from sigmaquant.errors import ConfigError, MissingExtraError, PeerError, SigmaQuantError
from sigmaquant.ranks import SINGLE, Ranks

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

# While the main rank alone searches, rounds or evaluates, the others wait. A rank that has ended
# is noticed at once; only one that hangs is waited for this long.
_PATIENCE = timedelta(hours=4)
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")

_log = logging.getLogger(__name__)


@functools.cache
def launched_ranks() -> Ranks:
    """The processes of this launch, to be called in every one of them.

    One rank where there is no launcher; Accelerate is not imported then. A process group that
    the caller's script has opened already, with a timeout of its own, is used as it is.

    Raises:
        MissingExtraError: several processes, and Accelerate is not installed.
        ConfigError: Accelerate finds other processes than the launcher promised.
        PeerError: the processes cannot reach each other.
    """
    launched = _launched_count()
    if launched == 1:
        _warn_of_lost_processes()
        return SINGLE
    ranks = LaunchedRanks(_accelerator())
    if ranks.count != launched:
        raise ConfigError(
            f"the launcher announced {launched} processes and Accelerate found {ranks.count}; "
            "start all of them with one launcher, accelerate launch or torchrun"
        )
    return ranks


def _launched_count() -> int:
    return max(int(os.environ.get(name) or 1) for name in _COUNTS)


def _warn_of_lost_processes() -> None:
    """``accelerate launch --cpu --num_processes 2`` starts one process (its issue 2741)."""
    if "MASTER_PORT" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ:
        _log.warning(
            "accelerate launch was asked for several processes and started one, as it does with "
            "--cpu; for several, set ACCELERATE_USE_CPU=yes and give --multi_gpu instead"
        )


def _accelerator() -> Accelerator:
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError as error:
        raise MissingExtraError("work in several processes", "distributed") from error
    # Were it first imported by a capture, with the group open, the default arguments of its
    # functions would keep the group, and gloo's threads, beyond end_training.
    import torch.distributed.nn

    opened_by_caller = torch.distributed.is_initialized()
    with _meeting():
        accelerator = Accelerator(
            # Without an accelerator, only this makes Accelerate see torchrun's processes.
            cpu=not torch.accelerator.is_available(),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        )
    if not opened_by_caller:
        # Left to the interpreter's end, gloo's threads may still run, and the process aborts.
        atexit.register(accelerator.end_training)
    return accelerator


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """What one rank's work came to.

    Attributes:
        value: the result, where there is one.
        error: what was raised on purpose.
        failure: any other error, in words: not every error can be sent.
    """

    value: T | None = None
    error: SigmaQuantError | None = None
    failure: str | None = None

    def result(self, rank: int) -> T:
        """The value; else raises what the work of that rank raised."""
        if self.error is not None:
            raise self.error
        if self.failure is not None:
            raise PeerError(f"process {rank} failed: {self.failure}")
        return self.value  # type: ignore[return-value]  # None where the work gives None


@dataclass(frozen=True)
class LaunchedRanks:
    """The processes that Accelerate knows of.

    Attributes:
        accelerator: has joined them.
    """

    accelerator: Accelerator

    @property
    def index(self) -> int:
        """See ``Ranks.index``."""
        return int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """See ``Ranks.count``."""
        return int(self.accelerator.num_processes)

    def together(self, work: Callable[[], T]) -> list[T]:
        """See ``Ranks.together``."""
        from accelerate.utils import gather_object

        own, unexpected = _attempted(work)
        with _meeting():
            outcomes: list[_Outcome[T]] = gather_object([own])
        if unexpected is not None:
            raise unexpected
        return [outcome.result(rank) for rank, outcome in enumerate(outcomes)]

    def from_main(self, work: Callable[[], T]) -> T:
        """See ``Ranks.from_main``."""
        from accelerate.utils import broadcast_object_list

        own: _Outcome[T] = _Outcome()
        unexpected = None
        if self.index == 0:
            own, unexpected = _attempted(work)
        sent: list[Any] = [own]
        with _meeting():
            broadcast_object_list(sent)
        if unexpected is not None:
            raise unexpected
        # The main rank's own result has been nowhere and is the very object.
        outcome: _Outcome[T] = own if self.index == 0 else sent[0]
        return outcome.result(0)

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``Ranks.total``."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _meeting():
            summed: Tensor = self.accelerator.reduce(flat.to(self.accelerator.device), "sum")
        parts = summed.to(flat.device).split([tensor.numel() for tensor in tensors])
        return [part.view_as(like) for part, like in zip(parts, tensors, strict=True)]


def _attempted(work: Callable[[], T]) -> tuple[_Outcome[T], Exception | None]:
    """What the work came to, and an error that is none of ours to be raised after the meeting."""
    try:
        return _Outcome(work()), None
    except SigmaQuantError as error:
        return _Outcome(error=error), None
    except Exception as error:
        return _Outcome(failure=f"{type(error).__name__}: {error}"), error


@contextlib.contextmanager
def _meeting() -> Iterator[None]:
    """Turn what torch raises when a rank is not there into an error that says so."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            "another process of this launch ended or could not be reached; its own messages say "
            f"why, and the same command goes on where it stopped ({str(error).splitlines()[0]})"
        ) from error
