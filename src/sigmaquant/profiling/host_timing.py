"""How long a link of a chain takes in ONNX Runtime on this host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sigmaquant.errors import DataError
from sigmaquant.export.onnx.graph import serialize
from sigmaquant.export.onnx.model import build_model
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.lowering.program import IntegerProgram
from sigmaquant.profiling.host_chains import Chain, LayerChain

Run = Callable[[], object]
Clock = Callable[[], int]

_LINKS = 32
_MOST_WEIGHTS = 1 << 19
_NS_PER_US = 1000


@dataclass(frozen=True)
class LinkTime:
    """Of a chain.

    Attributes:
        link_us: of each link.
        start_us: of a sample, whatever the number of links.
    """

    link_us: float
    start_us: float


def link_time(
    chain: Chain, *, threads: int, runs: int, clock_ns: Clock = time.perf_counter_ns
) -> LinkTime:
    """Time of one link: the difference of two chains' medians by the difference of their lengths.

    Raises:
        DataError: the longer chain took no longer.
    """
    more = _more_links(chain)
    short, long = (network_run(chain.program(links), threads) for links in (1, 1 + more))
    short_ns, long_ns = medians_ns((short, long), runs, clock_ns)
    if long_ns <= short_ns:
        raise DataError(
            f"{chain.name}: {more} more of them took no longer; this host is too busy to be "
            "measured, or its clock too coarse"
        )
    link_us = (long_ns - short_ns) / more / _NS_PER_US
    return LinkTime(link_us, start_us=max(0.0, short_ns / _NS_PER_US - link_us))


def medians_ns(tasks: Sequence[Run], runs: int, clock_ns: Clock) -> tuple[float, ...]:
    """Median time of each task; they take turns, so that a slow spell hits them all.

    The first run of each is not counted.
    """
    times: list[list[int]] = [[] for _ in tasks]
    for task in tasks:
        task()
    for _ in range(runs):
        for task, own in zip(tasks, times, strict=True):
            start = clock_ns()
            task()
            own.append(clock_ns() - start)
    return tuple(statistics.median(own) for own in times)


def network_run(program: IntegerProgram, threads: int) -> Run:
    """What runs one random sample through a program, as its ONNX export."""
    network = OnnxRuntimeNetwork(serialize(build_model(program)), threads=threads)
    random = np.random.default_rng(0)
    sample = {
        name: random.normal(size=(1, *program.values[name].shape)).astype(np.float32)
        for name in program.inputs
    }
    return lambda: network.run(sample)


def _more_links(chain: Chain) -> int:
    """Enough to outlast noise, but no more weights than stay in a cache, as in a small network."""
    if not isinstance(chain, LayerChain):
        return _LINKS
    return max(1, min(_LINKS, _MOST_WEIGHTS // chain.layer.weights))
