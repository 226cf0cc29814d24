"""Several processes of one Python module, started as a launcher starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How one process ended.

    Attributes:
        code: exit code; negative for the signal that killed it.
        printed: what it wrote to stdout.
        errors: what it wrote to stderr.
    """

    code: int
    printed: str
    errors: str


def launched(
    *command: str, count: int = 2, environment: Mapping[str, str] | None = None
) -> list[Ended]:
    """Run ``python COMMAND`` in several processes that talk by gloo, in the order of ranks."""
    environment = {
        **os.environ,
        **(environment or {}),
        "ACCELERATE_USE_CPU": "yes",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        written = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Ended(p.returncode, *w) for p, w in zip(processes, written, strict=True)]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
