"""``sigmaquant devices``."""

from __future__ import annotations

import json
from typing import Any

import pytest

import sigmaquant as sq


def test_list(sigmaquant: Any) -> None:
    ended = sigmaquant("devices", "list")
    assert ended.code == 0
    for name in sq.available_profiles():
        assert name in ended.out
        assert sq.load_profile(name).title.split()[0] in ended.out


@pytest.mark.parametrize("name", sq.available_profiles())
def test_show_has_a_row_for_each_width(sigmaquant: Any, name: str) -> None:
    profile = sq.load_profile(name)
    ended = sigmaquant("devices", "show", name)
    assert ended.code == 0
    rows = [line.split() for line in ended.out.splitlines()]
    widths = [int(row[0]) for row in rows if row and row[0].isdigit()]
    assert widths == list(profile.widths)
    assert "e emulated, d derived, ~ estimated" in ended.out
    assert max(map(len, ended.out.split("marks:")[0].splitlines()[-12:])) <= 80


def test_show_as_json(sigmaquant: Any) -> None:
    digests = json.loads(sigmaquant("devices", "show", "cortex-m4", "--json").out)
    assert [digest["weight_bits"] for digest in digests] == [2, 3, 4, 5, 6, 7, 8]
    assert digests[0]["kernels"]["conv"]["ns_per_mac"]["kind"] == "emulated"
