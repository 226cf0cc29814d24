from __future__ import annotations

import pytest

from sigmaquant.errors import DataError
from sigmaquant.layers import LayerKind
from sigmaquant.profiling import host_timing
from sigmaquant.profiling.host_chains import LayerChain, OperatorChain
from sigmaquant.profiling.host_timing import link_time, medians_ns

ADD = OperatorChain("add", (4, 8, 8))


class Clock:
    """Time that passes only when something runs."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns

    def task(self, *durations_ns):
        durations = iter(durations_ns)

        def run():
            self.now_ns += next(durations)

        return run


def test_medians_leave_out_the_first_run_and_outliers():
    clock = Clock()
    tasks = (clock.task(900, 10, 500, 12), clock.task(900, 20, 21, 22))
    assert medians_ns(tasks, 3, clock) == (12, 21)


def timed(monkeypatch, chain, nanoseconds):
    """The chain's time where a network of n links takes ``nanoseconds(n)``."""
    clock, built = Clock(), []

    def network_run(program, threads):
        links = sum(operator.name.startswith(("link", "layer")) for operator in program.operators)
        built.append((links, threads))
        return clock.task(*[nanoseconds(links)] * 4)

    monkeypatch.setattr(host_timing, "network_run", network_run)
    return link_time(chain, threads=2, runs=3, clock_ns=clock), built


def test_a_link_is_the_difference_of_two_lengths(monkeypatch):
    found, built = timed(monkeypatch, ADD, lambda links: 30_000 + 1500 * links)
    assert found.link_us == pytest.approx(1.5)
    assert found.start_us == pytest.approx(30.0)
    assert built == [(1, 2), (33, 2)]


def test_layers_with_many_weights_are_repeated_less(monkeypatch):
    chain = LayerChain(LayerKind.LINEAR, 512, 512, 4)
    found, built = timed(monkeypatch, chain, lambda links: 10_000 * links)
    assert found.link_us == pytest.approx(10)
    assert [links for links, _ in built] == [1, 3]


def test_a_link_that_takes_no_time_is_an_error(monkeypatch):
    with pytest.raises(DataError, match=r"add on 4x8x8: 32 more of them took no longer"):
        timed(monkeypatch, ADD, lambda _: 30_000)
