"""Clusters of numbers along the line: k-means with a penalty on unequal sizes, solved exactly."""

from __future__ import annotations

import numpy as np

from sigmaquant.search.arrays import FloatArray, IntArray


def balanced_clusters(values: FloatArray, count: int, penalty: float) -> IntArray:
    """Split numbers into clusters, none empty, so that the least is left of

        sum_k sum_(i in k) (x_i - mean_k)^2 / sum_i (x_i - mean)^2
            + penalty * sum_k (n_k / n - 1 / count)^2.

    The first term is that of k-means, as the share of the variance that the clusters leave; the
    second is zero where all clusters are of one size. For given sizes the squares are least where
    the clusters do not overlap, so dynamic programming over the sorted numbers finds the optimum,
    as Wang and Song 2011 (Ckmeans.1d.dp) do without a penalty.

    Args:
        values: (n,).
        count: number of clusters, at most n.
        penalty: 0 for plain k-means; the larger, the nearer to equal sizes.

    Returns:
        (n,) cluster of each number, 0 that of the smallest ones.

    >>> balanced_clusters(np.array([0.0, 9.0, 0.1, 0.2]), 2, penalty=0.0).tolist()
    [0, 1, 0, 0]
    >>> balanced_clusters(np.array([0.0, 9.0, 0.1, 0.2]), 2, penalty=100.0).tolist()
    [0, 1, 0, 1]
    """
    order = np.argsort(values, kind="stable")
    costs = _interval_costs(values[order] - values.mean(), count, penalty)
    least, starts = costs[0], []
    for _ in range(1, count):
        # (start, end): the best clusters up to the start, and one more from there to the end.
        total = least[:, None] + costs
        starts.append(total.argmin(axis=0))
        least = total.min(axis=0)
    clusters = np.empty(len(values), dtype=np.int64)
    end = len(values)
    for cluster in range(count - 1, -1, -1):
        start = starts[cluster - 1][end] if cluster else 0
        clusters[order[start:end]] = cluster
        end = start
    return clusters


def _interval_costs(values: FloatArray, count: int, penalty: float) -> FloatArray:
    """What one cluster adds that runs from a start to before an end: (n + 1, n + 1)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(values))])
    places = np.arange(len(values) + 1)
    sizes = places - places[:, None]
    within = squares - squares[:, None] - np.square(sums - sums[:, None]) / np.maximum(sizes, 1)
    unbalanced = np.square(sizes / len(values) - 1 / count)
    cost = np.maximum(within, 0.0) / (squares[-1] or 1.0) + penalty * unbalanced
    return np.where(sizes > 0, cost, np.inf)
