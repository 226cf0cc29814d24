from __future__ import annotations

from collections import Counter

import pytest
import torch

from sigmaquant.calibration import Batch
from sigmaquant.calibration.check.classes import Classes, MissingClasses, missing_classes


def labelled(counts: dict[int, int]) -> Classes:
    return Classes(Counter(counts), None)


def missing(ours: dict[int, int], theirs: dict[int, int]) -> MissingClasses:
    found = missing_classes(labelled(ours), labelled(theirs))
    assert found is not None
    return found


def test_classes_without_any_or_with_hardly_any_sample() -> None:
    found = missing({0: 100, 1: 100, 2: 1}, {0: 50, 1: 50, 2: 50, 3: 50})
    assert found.classes == (2, 3)
    assert found.share == 0.5
    assert found.by_chance < 1e-3


def test_a_class_that_is_only_rarer_is_not_missing() -> None:
    # All of the others are of one class; ours holds its fair part of it.
    assert missing({0: 10, 1: 90}, {0: 100}).classes == ()


def test_a_small_draw_misses_classes_by_chance() -> None:
    uniform = dict.fromkeys(range(1000), 50)
    found = missing(dict.fromkeys(range(500), 1), uniform)
    assert found.share == pytest.approx(0.5)
    assert found.by_chance == pytest.approx(0.999**500, abs=1e-3)
    assert found.deviation < 0.02


def test_many_samples_do_not_overflow() -> None:
    assert missing({0: 100_000, 1: 1}, {0: 1, 1: 1}).classes == (1,)


def test_labels_come_before_answers_and_have_to_be_known_of_both() -> None:
    scores = torch.eye(3)
    with_labels = Classes.of(Batch((scores,), torch.tensor([0, 0, 1])), (scores,))
    without = Classes.of(Batch((scores,)), (scores,))
    assert with_labels.labels == {0: 2, 1: 1}
    assert with_labels.predictions == without.predictions == {0: 1, 1: 1, 2: 1}
    assert (with_labels + without).labels is None
    by_labels = missing_classes(with_labels, with_labels)
    by_answers = missing_classes(with_labels, without)
    assert by_labels is not None
    assert by_answers is not None
    assert (by_labels.by_labels, by_answers.by_labels) == (True, False)


def test_nothing_to_compare() -> None:
    maps = torch.zeros(2, 3, 4, 4)
    unknown = Classes.of(Batch((maps,), maps), (maps,))
    assert unknown == Classes(None, None)
    assert missing_classes(unknown, unknown) is None
