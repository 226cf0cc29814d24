from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigmaquant.search.clustering import balanced_clusters

VALUES = st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=1, max_size=6)


def objective(values, clusters, count, penalty):
    values, clusters = np.array(values), np.array(clusters)
    parts = [values[clusters == cluster] for cluster in range(count)]
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    total = float(((values - values.mean()) ** 2).sum()) or 1.0
    sizes = np.array([len(part) for part in parts]) / len(values)
    return within / total + penalty * float(((sizes - 1 / count) ** 2).sum())


@given(values=VALUES, count=st.integers(1, 3), penalty=st.sampled_from((0.0, 0.1, 1.0, 30.0)))
def test_no_other_clusters_are_better(values, count, penalty):
    count = min(count, len(values))
    found = balanced_clusters(np.array(values), count, penalty)
    every = itertools.product(range(count), repeat=len(values))
    best = min(
        objective(values, clusters, count, penalty)
        for clusters in every
        if len(set(clusters)) == count
    )
    assert objective(values, found, count, penalty) == pytest.approx(best, abs=1e-9)


@given(values=VALUES, penalty=st.sampled_from((0.0, 1.0)))
def test_larger_values_are_in_later_clusters(values, penalty):
    found = balanced_clusters(np.array(values), min(3, len(values)), penalty)
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


@pytest.mark.parametrize("layers", [1, 9, 200])
def test_a_large_penalty_makes_sizes_equal(layers):
    values = np.exp(np.random.default_rng(0).normal(size=layers) * 3)
    count = min(7, layers)
    sizes = np.bincount(balanced_clusters(values, count, 1e9))
    assert len(sizes) == count
    assert np.ptp(sizes) <= 1
