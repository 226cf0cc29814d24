from __future__ import annotations

import math

import numpy as np
import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.search.measurement import MeasuredOnce, difference, finite_mean


def plan(bits, origin="a"):
    return BitPlan(weight_bits={"layer": bits}, activation_bits={"x": 8}, origin=origin)


def test_a_plan_is_measured_once_whatever_its_origin():
    calls = []

    def measure(plan):
        calls.append(plan.weight_bits["layer"])
        return 0.5

    measured = MeasuredOnce(measure)
    assert plan(4) not in measured
    assert [measured(plan(4)).tolist(), measured(plan(4, "b")).tolist()] == [[0.5], [0.5]]
    assert measured(plan(3)).tolist() == [0.5]
    assert calls == [4, 3]
    assert measured.count == 2
    assert plan(4, "c") in measured


def test_other_activation_widths_are_another_plan():
    measured = MeasuredOnce(lambda plan: float(plan.activation_bits["x"]))
    four = BitPlan(weight_bits={"layer": 4}, activation_bits={"x": 4})
    assert (measured(plan(4))[0], measured(four)[0]) == (8.0, 4.0)


def test_the_difference_is_taken_sample_by_sample():
    hard_samples = np.array([1.0, 10.0, 100.0, 1000.0])
    found = difference(hard_samples - np.array([0.1, 0.2, 0.3, 0.2]), hard_samples)
    assert found.mean == pytest.approx(-0.2)
    assert found.standard_error == pytest.approx(np.std([0.1, 0.2, 0.3, 0.2], ddof=1) / 2)
    assert found.improves


@pytest.mark.parametrize(("gain", "improves"), [(0.049, False), (0.051, True), (-0.1, False)])
def test_two_standard_errors_are_more_than_noise(gain, improves):
    # Differences of -gain +- 0.05 over 5 samples: a standard error of 0.025.
    noise = 0.05 * np.array([1.0, -1.0, 1.0, -1.0, 0.0]) * math.sqrt(5 / 4)
    found = difference(noise - gain, np.zeros(5))
    assert found.standard_error == pytest.approx(0.025)
    assert found.improves == improves


@pytest.mark.parametrize(("loss", "improves"), [(0.999, True), (1.0, False), (1.001, False)])
def test_of_one_figure_any_smaller_one_improves(loss, improves):
    found = difference(np.array([loss]), np.array([1.0]))
    assert found.standard_error is None
    assert found.improves == improves


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_never_improves_and_is_always_improved_on(broken):
    sound, unsound = np.array([1.0, 2.0]), np.array([1.0, broken])
    assert not difference(unsound, sound).improves
    assert not difference(unsound, unsound).improves
    assert difference(sound, unsound).improves
    assert finite_mean(unsound) is None
    assert finite_mean(sound) == 1.5
