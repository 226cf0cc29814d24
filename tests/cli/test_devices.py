"""``sigmaquant devices``."""

from __future__ import annotations

import json
from typing import Any

import pytest

import sigmaquant as sq
from sigmaquant.devices import available_runtimes, width_digests


def rows_of(out: str) -> list[list[str]]:
    """The table's lines, which begin with a width."""
    lines = (line.split() for line in out.splitlines())
    return [cells for cells in lines if cells and cells[0].isdigit()]


def test_list(sigmaquant: Any) -> None:
    ended = sigmaquant("devices", "list")
    assert ended.code == 0
    for name in sq.available_profiles():
        assert name in ended.out
        assert sq.load_profile(name).title.split()[0] in ended.out
    for runtime in available_runtimes():
        assert f" {runtime} " in ended.out


@pytest.mark.parametrize("name", sq.available_profiles())
def test_show_has_a_row_for_each_width(sigmaquant: Any, name: str) -> None:
    profile = sq.load_profile(name)
    ended = sigmaquant("devices", "show", name)
    assert ended.code == 0
    widths = [int(row[0]) for row in rows_of(ended.out)]
    assert sorted(set(widths)) == list(profile.widths)
    assert widths == [digest.weight_bits for digest in width_digests(profile)]
    assert "e emulated, d derived, ~ estimated" in ended.out
    table = ended.out.split("marks:")[0].splitlines()[-len(rows_of(ended.out)) - 4 :]
    assert max(map(len, table)) <= 80


def test_show_as_json(sigmaquant: Any) -> None:
    digests = json.loads(sigmaquant("devices", "show", "cortex-m4", "--json").out)
    assert [digest["weight_bits"] for digest in digests] == [2, 3, 4, 5, 6, 7, 8]
    assert digests[0]["kernels"]["conv"]["ns_per_mac"]["kind"] == "emulated"


def test_show_tells_narrow_inputs_apart(sigmaquant: Any) -> None:
    pairs = [tuple(row[:2]) for row in rows_of(sigmaquant("devices", "show", "mpic").out)]
    assert pairs == [("2", "8"), ("2", "4"), ("2", "2"), ("4", "8"), ("4", "4"), ("8", "8")]


def test_show_says_power_error_and_fast_times(sigmaquant: Any) -> None:
    m4 = sigmaquant("devices", "show", "cortex-m4").out
    assert "weights: dense; energy: 41.7 mW active, 15.7~ mW idle" in m4
    assert "latency error 25 %, at most 60 %" in m4
    fast = sigmaquant("devices", "show", "qcs6490").out
    assert "ps/MAC" in fast
    assert "energy: a sum over operations" in fast
