from __future__ import annotations

import itertools

import pytest

from sigmaquant.devices.evidence import Evidence, SourcedByWidth, weakest

STRONGEST_FIRST = ["measured", "emulated", "derived", "estimated"]


@pytest.mark.parametrize("kinds", list(itertools.combinations(STRONGEST_FIRST, 2)))
def test_the_weaker_of_two_decides_in_any_order(kinds):
    stronger, weaker = map(Evidence, kinds)
    assert weakest(stronger, weaker) is weaker
    assert weakest(weaker, stronger) is weaker


def test_a_width_may_have_its_own_evidence():
    figures = SourcedByWidth(
        source="paper", kind=Evidence.DERIVED, width_kinds={3: Evidence.ESTIMATED}
    )
    assert [figures.kind_at(bits).value for bits in (2, 3, 4)] == [
        "derived",
        "estimated",
        "derived",
    ]
