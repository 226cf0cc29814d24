"""Whether the scores are known well enough to choose widths by: what two halves make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sigmaquant.calibration_check import ScoreStability
from sigmaquant.errors import ArtifactError, ConfigError
from sigmaquant.layers import WIDTHS, LayerTable
from sigmaquant.scores import SensitivityTable

RELIABLE = 0.9
"""Least reliability of a measure that decisions hang on (Nunnally 1978, p. 245 f.)."""

DEFAULT_WEIGHT_BITS = 4.0
"""Size of the plans that are compared where none is known."""

_FEWEST_LAYERS = 3  # two layers have two orders only
_DRAWS = 100  # the mean correlation's own error is then below 0.02 for ten layers
_BISECTIONS = 60
_MOST_TIMES = 16  # beyond, the law is no estimate any more

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def score_stability(
    table: LayerTable,
    scores: SensitivityTable | Sequence[SensitivityTable],
    mean_weight_bits: float = DEFAULT_WEIGHT_BITS,
    seed: int = 0,
) -> ScoreStability | None:
    """How far the scores of two halves of the calibration data agree.

    From one table, the scores of halves are drawn: as each score has the standard error e from all
    samples, it has sqrt(2) e from half of them. Rises are positive and skewed, so the draw is
    log-normal with that mean and deviation; the widths of a layer are drawn together, since they
    come from the same samples; layers are drawn apart.

    Args:
        table: the network's layers.
        scores: of all samples, or two tables, each of one half.
        mean_weight_bits: size of the plans that are compared.
        seed: of the draws.

    Returns:
        None for fewer than three layers, or where the scores have no standard errors.

    Raises:
        ConfigError: neither one table nor two.
        ArtifactError: scores of another network.
    """
    tables = [scores] if isinstance(scores, SensitivityTable) else list(scores)
    if len(tables) not in (1, 2):
        raise ConfigError(
            f"{len(tables)} tables of scores; give one, or one for each of two halves"
        )
    rises = [_matrix(table, each, "rise") for each in tables]
    if len(table.layers) < _FEWEST_LAYERS:
        return None
    samples = sum(each.samples for each in tables)
    if len(tables) == 2:
        first, second = (each[None] for each in rises)
    else:
        errors = _matrix(table, tables[0], "standard_error")
        if not errors.any():
            return None
        random = np.random.default_rng(seed)
        first, second = (_drawn(rises[0], math.sqrt(2) * errors, random) for _ in range(2))
    correlation = float(_rank_correlations(first, second).mean())
    return ScoreStability(
        samples=samples,
        rank_correlation=correlation,
        changed_weights=_changed_weights(table, first, second, mean_weight_bits),
        mean_weight_bits=mean_weight_bits,
        samples_needed=_samples_needed(samples, correlation),
        measured=len(tables) == 2,
    )


def reliability(rank_correlation: float) -> float:
    """Correlation that tables of all samples would have, from that of halves.

    The Spearman-Brown formula (Spearman 1910, Brown 1910), 2 r / (1 + r): it follows from errors
    that fall with one over the root of the number of samples.
    """
    return 2 * rank_correlation / (1 + max(rank_correlation, 0.0))


def _samples_needed(samples: int, rank_correlation: float) -> int:
    """Samples whose scores are reliable: the same formula, solved for their number.

    k halves have the reliability k r / (1 + (k - 1) r), which is to be ``RELIABLE``.
    """
    r = min(max(rank_correlation, 1e-9), 1.0)
    halves = RELIABLE * (1 - r) / (r * (1 - RELIABLE))
    return math.ceil(samples * min(halves / 2, _MOST_TIMES))


def _matrix(table: LayerTable, scores: SensitivityTable, figure: str) -> FloatArray:
    """(layers, widths) of one figure of the scores."""
    unknown = [layer.name for layer in table.layers if layer.name not in scores.scores]
    if unknown:
        raise ArtifactError(f"the scores are of another network: they do not know {unknown[0]}")
    unscored = [
        f"{layer.name} at {bits} bits"
        for layer in table.layers
        for bits in WIDTHS
        if bits not in scores.scores[layer.name]
    ]
    if unscored:
        raise ArtifactError(f"the scores lack {unscored[0]}; score the network again")
    return np.array(
        [
            [getattr(scores.scores[layer.name][bits], figure) for bits in WIDTHS]
            for layer in table.layers
        ]
    )


def _drawn(rises: FloatArray, errors: FloatArray, random: np.random.Generator) -> FloatArray:
    """(draws, layers, widths): scores as other samples could have given them."""
    normal = random.standard_normal((_DRAWS, len(rises), 1))
    positive = rises > 0
    relative = errors / np.where(positive, rises, 1.0)
    spread = np.sqrt(np.log1p(relative**2))
    return np.where(
        positive, rises * np.exp(spread * normal - spread**2 / 2), rises + errors * normal
    )


def _rank_correlations(a: FloatArray, b: FloatArray) -> FloatArray:
    """(draws, layers, widths) twice to (draws, widths): Spearman's, over the layers."""
    layers = a.shape[1]
    difference = a.argsort(1).argsort(1) - b.argsort(1).argsort(1)
    correlations: FloatArray = 1 - 6 * np.square(difference).sum(1) / (layers * (layers**2 - 1))
    return correlations


def _changed_weights(
    table: LayerTable, first: FloatArray, second: FloatArray, mean_weight_bits: float
) -> float:
    """Fraction of the weights that the plans of two halves give another width."""
    weights = np.array([layer.weights for layer in table.layers], dtype=np.float64)
    plans = [_plans(each, weights, mean_weight_bits) for each in (first, second)]
    changed = (plans[0] != plans[1]) @ weights / weights.sum()
    return float(changed.mean())


def _plans(rises: FloatArray, weights: FloatArray, mean_weight_bits: float) -> IntArray:
    """(draws, layers): the width of each layer in the best plan of about that size.

    With a price on each bit the layers are independent: each takes the width whose score and price
    together are least (Shoham & Gersho 1988). The price is found by bisection, draw by draw.
    """
    size = weights[:, None] * np.array(WIDTHS)
    positive = np.abs(rises[rises != 0])
    highest = math.log(positive.max() if len(positive) else 1.0) + 1
    low, high = np.full(len(rises), highest - 60), np.full(len(rises), highest)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        chosen = (rises + np.exp(middle)[:, None, None] * size).argmin(2)
        used = (size[np.arange(len(weights)), chosen]).sum(1) / weights.sum()
        fits = used <= mean_weight_bits
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    cheapest: IntArray = (rises + np.exp(high)[:, None, None] * size).argmin(2)
    return cheapest
