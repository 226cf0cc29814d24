from __future__ import annotations

import time

import pytest

from benchmarks.stopwatch import Stopwatch


def test_stages_add_up_in_order_of_first_use() -> None:
    watch = Stopwatch({"capture": 1.0})
    for _ in range(2):
        with watch.stage("score"):
            time.sleep(0.01)
    assert list(watch.seconds) == ["capture", "score"]
    assert watch.seconds["capture"] == 1.0
    assert 0.02 <= watch.seconds["score"] < 1.0


def test_a_failing_stage_is_counted_too() -> None:
    watch = Stopwatch()
    with pytest.raises(RuntimeError), watch.stage("search"):
        raise RuntimeError
    assert "search" in watch.seconds
