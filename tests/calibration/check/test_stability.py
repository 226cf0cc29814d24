"""What halves of the samples make of the scores."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from sigmaquant.calibration.check.stability import RELIABLE, reliability, score_stability
from sigmaquant.calibration_check import ScoreStability
from sigmaquant.errors import ArtifactError, ConfigError
from sigmaquant.layers import WIDTHS, LayerKind, LayerSpec, LayerTable
from sigmaquant.scores import Score, SensitivityTable

FloatArray = npt.NDArray[np.float64]


def layer_table(weights: list[int]) -> LayerTable:
    layers = tuple(
        LayerSpec(
            name=f"layer{index}",
            kind=LayerKind.LINEAR,
            weight_shape=(1, count),
            input_shape=(count,),
            output_shape=(1,),
            macs=count,
            input_groups=("x",),
            output_group=None,
        )
        for index, count in enumerate(weights)
    )
    return LayerTable(network="Hand", layers=layers, tensors=(), steps=())


def table_of(rises: FloatArray, errors: FloatArray | float, samples: int) -> SensitivityTable:
    """(layers, widths) scores."""
    errors = np.broadcast_to(errors, rises.shape)
    return SensitivityTable(
        metric="loss",
        loss="kl",
        rounding="nearest",
        float_loss=0.0,
        samples=samples,
        seed=0,
        inputs="",
        scores={
            f"layer{index}": {
                bits: Score(rise=rises[index, at], standard_error=errors[index, at])
                for at, bits in enumerate(WIDTHS)
            }
            for index in range(len(rises))
        },
    )


def geometric(importance: list[float]) -> FloatArray:
    """Rises that fall fourfold a bit."""
    return np.array(importance)[:, None] * 4.0 ** -np.arange(len(WIDTHS))


def stability(
    table: LayerTable, scores: SensitivityTable | list[SensitivityTable], mean_bits: float = 4.0
) -> ScoreStability:
    found = score_stability(table, scores, mean_bits)
    assert found is not None
    return found


EQUAL = layer_table([10, 10, 10, 10, 10])
CLEAR = geometric([1.0, 3.0, 9.0, 27.0, 81.0])


def test_two_halves_are_ranked_as_they_are() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((2, 5, len(WIDTHS)))
    found = stability(EQUAL, [table_of(first, 0.0, 20), table_of(second, 0.0, 30)])
    expected = np.mean([spearmanr(first[:, i], second[:, i])[0] for i in range(len(WIDTHS))])
    assert found.rank_correlation == pytest.approx(float(expected))
    assert found.samples == 50
    assert found.measured


def test_equal_halves_agree_and_need_no_more() -> None:
    found = stability(EQUAL, [table_of(CLEAR, 0.0, 32)] * 2)
    assert (found.rank_correlation, found.changed_weights, found.samples_needed) == (1, 0, 0)


@pytest.mark.parametrize("error", [0.02, 0.1, 0.3])
def test_standard_errors_tell_what_halves_would_show(error: float) -> None:
    """Drawn half by half from log-normal samples, the correlation is that inferred from errors."""
    random = np.random.default_rng(1)
    close = geometric([1.0, 1.2, 1.5, 1.7, 2.0, 2.5])
    table, samples = layer_table([10] * 6), 400
    spread = np.sqrt(np.log1p(samples * error**2))
    correlations = []
    for _ in range(40):
        draws = np.exp(spread * random.standard_normal((samples, 6)) - spread**2 / 2)
        halves = [
            table_of(close * part.mean(0)[:, None], 0.0, samples // 2)
            for part in np.split(draws, 2)
        ]
        correlations.append(stability(table, halves).rank_correlation)
    inferred = stability(table, table_of(close, close * error, samples))
    assert not inferred.measured
    assert inferred.rank_correlation == pytest.approx(np.mean(correlations), abs=0.15)


def test_noisier_scores_agree_less_and_need_more() -> None:
    found = [
        stability(EQUAL, table_of(CLEAR, CLEAR * error, 100)) for error in (0.05, 0.5, 1.5, 4.0)
    ]
    correlations = [each.rank_correlation for each in found]
    needed = [each.samples_needed for each in found]
    assert correlations == sorted(correlations, reverse=True)
    assert needed == sorted(needed)
    assert needed[0] < 100 < needed[-1] <= 1600


def test_the_number_of_samples_follows_the_law() -> None:
    """With so many samples the errors shrink by the root, and the scores become reliable."""
    error, samples = 1.0, 100
    now = stability(EQUAL, table_of(CLEAR, CLEAR * error, samples))
    assert reliability(now.rank_correlation) < RELIABLE
    factor = now.samples_needed / samples
    then = stability(EQUAL, table_of(CLEAR, CLEAR * error / factor**0.5, now.samples_needed))
    assert reliability(then.rank_correlation) == pytest.approx(RELIABLE, abs=0.06)


def test_scores_below_zero_are_noise_too() -> None:
    rises = CLEAR - CLEAR.mean()
    found = stability(EQUAL, table_of(rises, 0.1, 50))
    assert 0 < found.rank_correlation < 1


def best_plan(rises: FloatArray, weights: list[int], mean_bits: float) -> tuple[int, ...]:
    """By trying all."""

    def size(plan: tuple[int, ...]) -> int:
        return sum(count * WIDTHS[at] for count, at in zip(weights, plan, strict=True))

    fitting = (
        plan
        for plan in itertools.product(range(len(WIDTHS)), repeat=len(weights))
        if size(plan) <= mean_bits * sum(weights)
    )
    return min(fitting, key=lambda plan: sum(rises[i, at] for i, at in enumerate(plan)))


def test_plans_that_differ_count_with_their_weights() -> None:
    """The halves swap which of two large layers matters; the small one keeps its width."""
    weights = [1000, 1000, 1]
    first, second = geometric([1.0, 16.0, 1e-3]), geometric([16.0, 1.0, 1e-3])
    halves = [table_of(each, 0.0, 8) for each in (first, second)]
    found = stability(layer_table(weights), halves, mean_bits=4.0)
    plans = [best_plan(each, weights, 4.0) for each in (first, second)]
    assert plans[0][:2] == plans[1][1::-1] != plans[1][:2]
    assert found.changed_weights == pytest.approx(2000 / 2001)
    assert found.mean_weight_bits == 4.0


@pytest.mark.parametrize(
    ("table", "errors"), [(layer_table([5, 5]), 0.1), (layer_table([5, 5, 5]), 0.0)]
)
def test_nothing_can_be_told(table: LayerTable, errors: float) -> None:
    rises = geometric([1.0, 2.0, 3.0])[: len(table.layers)]
    assert score_stability(table, table_of(rises, errors, 10)) is None


def test_what_is_refused() -> None:
    scores = table_of(CLEAR, 0.1, 10)
    with pytest.raises(ConfigError, match="3 tables of scores; give one, or one for each of two"):
        score_stability(EQUAL, [scores] * 3)
    with pytest.raises(ArtifactError, match="another network: they do not know layer5"):
        score_stability(layer_table([1] * 6), scores)
    del scores.scores["layer1"][3]
    with pytest.raises(ArtifactError, match="the scores lack layer1 at 3 bits; score the network"):
        score_stability(EQUAL, scores)
