from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.devices.fitting import (
    Observation,
    common_factor,
    fitted_factors,
    left_out_errors,
)

KINDS = ("conv", "linear", "other")
positive = st.floats(0.01, 100)


def seen(measured, **predicted):
    return Observation("net", predicted, measured)


def test_one_row_scales_all_kinds_alike():
    factors = fitted_factors([seen(30.0, conv=8.0, linear=2.0)], KINDS)
    assert factors == pytest.approx(dict.fromkeys(KINDS, 3.0))


def test_rows_that_agree_keep_one_factor():
    rows = [seen(2.0, conv=1.0), seen(20.0, linear=10.0), seen(4.0, conv=1.0, linear=1.0)]
    assert fitted_factors(rows, KINDS) == pytest.approx(dict.fromkeys(KINDS, 2.0))


def test_rows_that_disagree_pull_the_kinds_apart_but_not_all_the_way():
    rows = [seen(1.0, conv=1.0), seen(2.0, linear=1.0)]
    factors = fitted_factors(rows, KINDS)
    common = common_factor(rows)
    assert 1.0 < factors["conv"] < common < factors["linear"] < 2.0
    assert factors["other"] == pytest.approx(common)  # of which no row tells anything


def test_no_kind_departs_further_than_fourfold():
    rows = [seen(1.0, conv=1.0)] * 500 + [seen(1.0, linear=0.1)] * 100
    factors = fitted_factors(rows, KINDS)
    assert factors["linear"] == pytest.approx(4 * common_factor(rows))


@given(st.lists(st.tuples(positive, positive, positive), min_size=1, max_size=5), positive)
def test_units_do_not_matter(rows, unit):
    plain = [seen(ms, conv=conv, linear=linear) for ms, conv, linear in rows]
    other = [seen(ms * unit, conv=conv, linear=linear) for ms, conv, linear in rows]
    expected = {kind: unit * factor for kind, factor in fitted_factors(plain, KINDS).items()}
    assert fitted_factors(other, KINDS) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.tuples(positive, positive, positive), min_size=1, max_size=5))
def test_factors_are_at_the_minimum(rows):
    ridge = (0.1 / 0.3) ** 2
    observed = [seen(ms, conv=conv, linear=linear) for ms, conv, linear in rows]
    common = common_factor(observed)

    def objective(factors):
        errors = sum(each.error(factors) ** 2 for each in observed)
        return errors + ridge * sum((f / common - 1) ** 2 for f in factors.values())

    factors = fitted_factors(observed, KINDS)
    best = objective(factors)
    for kind in KINDS:
        for change in (0.99, 1.01):
            moved = factors[kind] * change
            if common / 4 <= moved <= common * 4:
                assert objective({**factors, kind: moved}) >= best - 1e-7 * (1 + best)


def test_left_out_rows_are_predicted_from_the_others():
    rows = [seen(2.0, conv=1.0), seen(3.0, conv=1.0)]
    assert left_out_errors(rows, KINDS) == pytest.approx((3 / 2 - 1, 2 / 3 - 1))
    assert left_out_errors(rows[:1], KINDS) == ()
