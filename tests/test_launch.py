"""Two processes that talk by gloo: what they share comes out as one process would make it."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sigmaquant import launch
from sigmaquant.errors import ConfigError, MissingExtraError
from sigmaquant.ranks import SINGLE, SingleRank, differing_rank, on_each, only_main_logs
from sigmaquant.sensitivity.candidates import shared_out
from tests import nets, shared_work
from tests.launching import Ended, launched

# What is registered first is called last.
OPEN_AT_EXIT = """
import atexit
import weakref
import torch.distributed as group
from sigmaquant.launch import launched_ranks
from tests import nets
atexit.register(lambda: print("open" if opened() else "ended"))
{first}
ranks = launched_ranks()
opened = weakref.ref(group.group.WORLD)
assert ranks.together(lambda: ranks.index) == [0, 1]
nets.captured("mlp")
"""


@dataclass(frozen=True)
class Pair:
    """Two processes that have done ``shared_work``.

    Attributes:
        results: of each, by name of the work.
        killed: what the first saw when the second was gone.
        ended: how they ended.
    """

    results: list[dict[str, Any]]
    killed: str
    ended: list[Ended]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    ended = launched("-m", "tests.shared_work", str(folder))
    paths = [folder / f"{rank}.pt" for rank in range(2)]
    assert all(path.exists() for path in paths), ended
    results = [torch.load(path, weights_only=False) for path in paths]
    return Pair(results, (folder / "killed.txt").read_text(encoding="utf-8"), ended)


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, tensors within dicts and tuples too."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", shared_work.SAME)
def test_two_processes_make_what_one_makes(name: str, pair: Pair, tmp_path: Path) -> None:
    alone = shared_work.SAME[name](SINGLE, tmp_path)
    assert same(pair.results[0][name], alone)
    assert same(pair.results[1][name], alone)


def test_two_processes_train_as_one_does(pair: Pair, tmp_path: Path) -> None:
    first, second = (result["training"] for result in pair.results)
    assert same(first, second)
    alone = shared_work.training(SINGLE, tmp_path)
    start = shared_work.untrained().state()
    assert not same(alone, start)
    for name, value in alone.items():
        # A gradient summed in another order differs in its last bits.
        assert torch.allclose(first[name], value, rtol=1e-4, atol=1e-6), name


def test_what_they_tell_each_other(pair: Pair) -> None:
    for index, result in enumerate(pair.results):
        assert result["meetings"] == {
            "together": [0, 1],
            "from main": "from 0",
            "on each": index,
            "total": ([2.0, 1.0], [[2.0], [2.0]]),
            "differing": 1,
            "same": None,
        }


def test_an_error_of_one_is_an_error_of_all(pair: Pair) -> None:
    typed, extra, bug, bug_of_main, data, folder, length = zip(
        *(result["errors"] for result in pair.results), strict=True
    )
    assert set(typed) == {"DataError: no samples"}
    assert set(extra) == {
        "MissingExtraError: charts needs an optional dependency: "
        "pip install 'sigmaquant-edge[plots]'"
    }
    assert bug == ("PeerError: process 1 failed: ValueError: a bug", "ValueError: a bug")
    assert bug_of_main == ("ValueError: a bug", "PeerError: process 0 failed: ValueError: a bug")
    assert data[0] == data[1]
    assert data[0].startswith("DataError: process 1 has read other calibration data")
    assert folder[0] == folder[1]
    assert "process 1 does not find in" in folder[0]
    assert "give a folder that all machines share" in folder[0]
    assert length[0] == length[1]
    assert length[0].startswith("DataError: process 1 trains from another start, or on another")


def test_a_process_that_is_gone_leaves_nobody_waiting(pair: Pair) -> None:
    assert [ended.code for ended in pair.ended] == [0, 9]
    assert "another process of this launch ended or could not be reached" in pair.killed


@pytest.mark.parametrize(
    ("first", "left"), [("", "ended"), ('group.init_process_group("gloo")', "open")]
)
def test_a_process_ends_the_group_that_it_opened(first: str, left: str) -> None:
    ended = launched("-c", OPEN_AT_EXIT.format(first=first))
    assert [process.printed for process in ended] == [f"{left}\n"] * 2, ended


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_every_layer_has_one_rank(count: int) -> None:

    network = nets.captured("resnet")
    shares = shared_out(network, 16, count)
    assert sorted(layer for share in shares for layer in share) == sorted(network.layer_nodes())
    assert len(shares) == count
    assert all(shares[: len(network.layer_nodes())])


def test_one_rank_meets_itself() -> None:
    values = [torch.ones(2)]
    assert SINGLE.together(lambda: 3) == [3]
    assert SINGLE.from_main(lambda: 4) == on_each(SINGLE, lambda: 4) == 4
    assert SINGLE.total(values) == values
    assert differing_rank(SINGLE, "any") is None


def test_only_the_main_rank_logs() -> None:
    logger = logging.getLogger("sigmaquant")
    before = logger.level
    with only_main_logs(SingleRank(index=1, count=2)):
        assert not logger.isEnabledFor(logging.WARNING)
    with only_main_logs(SINGLE):
        assert logger.level == before
    assert logger.level == before


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No launcher, and nothing remembered."""
    for name in ("WORLD_SIZE", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch, "launched_ranks", launch.launched_ranks.__wrapped__)
    return monkeypatch


def test_without_a_launcher_accelerate_is_not_asked(environment: pytest.MonkeyPatch) -> None:
    environment.setitem(sys.modules, "accelerate", None)
    assert launch.launched_ranks() is SINGLE


def test_several_processes_need_accelerate(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORLD_SIZE", "2")
    environment.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"sigmaquant-edge\[distributed\]"):
        launch.launched_ranks()


def test_every_process_for_itself_is_noticed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORLD_SIZE", "2")
    alone = SimpleNamespace(process_index=0, num_processes=1)
    environment.setattr(launch, "_accelerator", lambda: alone)
    with pytest.raises(ConfigError, match="announced 2 processes and Accelerate found 1"):
        launch.launched_ranks()


def test_a_launcher_that_starts_fewer_than_asked_is_named(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("MASTER_PORT", "29500")
    environment.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert launch.launched_ranks() is SINGLE
    assert "give --multi_gpu instead" in caplog.text
