"""The two phases of the SigmaQuant paper (arXiv 2602.22136), within hard budgets.

Phase 1 clusters the layers by the standard deviation of their weights and gives the clusters the
device's widths, the widest to the largest deviation. A penalty on clusters of unequal size grows
until the plan's size comes within its buffer. Phase 2 gives one width step more to the layer whose
weights' histogram has changed most (normalised KL), takes steps from those that have changed least
to make room, and reverts what does not help.

The published digest leaves open, and is decided here: deviations are scaled by the fan-in (see
``sensitivity.sigma``); k-means is solved exactly, with a penalty on the squared sizes that doubles;
size counts as within its buffer at up to 5 % over the tightest limit. The paper also ends phase 1
when the accuracy comes within a buffer of its target; hard budgets have no such target, so size
alone decides. A step that takes nothing from other layers is taken if its score falls; one that
does, if it lowers the measured loss or, where nothing is measured, the summed score. Activations
are not the digest's subject: they keep their native widths, or narrower ones where RAM demands it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from sigmaquant.errors import ArtifactError, InfeasibleError
from sigmaquant.progress import progress_bar
from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.clustering import balanced_clusters
from sigmaquant.search.feasibility import starting_plan
from sigmaquant.search.measurement import Measure
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Solution, solution
from sigmaquant.search.trials import Trials

MEASUREMENTS = 64
"""Plans measured at most."""
_BUFFER = 0.05
"""How far over a limit phase 1 may end, as a share of it: phase 2 takes it back step by step."""
_FIRST_PENALTY = 1 / 16
"""Where the penalty starts to double: one cluster with everything then weighs a few percent."""


@dataclass(frozen=True)
class Sigma:
    """Widths from weights alone: for comparison with the paper, and where there are no data.

    Attributes:
        measurements: plans measured at most, where there is a measure.
    """

    measurements: int = MEASUREMENTS

    def solve(self, problem: Problem, measure: Measure | None = None) -> Solution:
        """Cluster by deviation, then move single layers by their scores.

        Raises:
            ArtifactError: the scores come without deviations of the weights.
            InfeasibleError: no plan meets the budgets.
        """
        started = time.perf_counter()
        weights = _weights_alone(problem)
        lowered = _lowered(weights, _clustered(weights))
        start = _filled(weights, starting_plan(weights) if lowered is None else lowered)
        if measure is None:
            trials = Trials(weights, _summed_score(weights), start, lambda: None)
            _move(weights, trials, math.inf)
        else:
            with progress_bar("moving bits", self.measurements) as advance:
                trials = Trials(weights, measure, start, advance)
                _move(weights, trials, self.measurements)
        return solution(
            problem,
            problem.chosen(weights.plan(trials.best, "sigma")),
            strategy="sigma",
            status="feasible",
            gap=None,
            seconds=time.perf_counter() - started,
            refinement=None if measure is None else trials.record(),
        )


def _weights_alone(problem: Problem) -> Problem:
    """The question with all activations at native widths, or at narrower ones where these must be.

    Raises:
        InfeasibleError: no plan meets the budgets.
    """
    fitting = problem.plan(starting_plan(problem), "fitting")
    native = problem.with_activations(problem.activation_bits)
    try:
        starting_plan(native)
    except InfeasibleError:
        return problem.with_activations(fitting.activation_bits)
    return native


def _clustered(problem: Problem) -> IntArray:
    """Phase 1: (layers,) choices, which may break a limit."""
    choices = problem.choices
    sigmas = _sigmas(problem)
    widths = np.unique(choices.weight_bits)
    count = min(len(widths), len(sigmas))
    # With fewer layers than widths, some of the widths, from the narrowest to the widest.
    widths = widths[np.linspace(0, len(widths) - 1, count).round().astype(np.int64)]
    found, penalty = [], 0.0
    while True:
        clusters = balanced_clusters(sigmas, count, penalty)
        chosen = choices.at_least(widths[clusters])
        found.append(chosen)
        if _largest_share(problem, chosen) <= 1 + _BUFFER or np.ptp(np.bincount(clusters)) <= 1:
            return min(found, key=lambda chosen: _largest_share(problem, chosen))
        penalty = 2 * penalty or _FIRST_PENALTY


def _sigmas(problem: Problem) -> FloatArray:
    """(layers,) deviations of the layers' weights."""
    known = problem.scores.weight_sigmas
    if any(layer not in known for layer in problem.choices.layers):
        raise ArtifactError(
            "the sensitivity table has no standard deviations of the weights, which the strategy "
            "'sigma' clusters; score the network again with this version"
        )
    return np.array([known[layer] for layer in problem.choices.layers])


def _largest_share(problem: Problem, chosen: IntArray) -> float:
    """How much of its tightest limit a plan takes; 0 without limits."""
    shares = (cap.total(chosen) / cap.limit for cap in problem.caps())
    return max(shares, default=0.0)


def _filled(problem: Problem, chosen: IntArray) -> IntArray:
    """Phase 2, first: steps more where there is room, for the layer that has changed most.

    They are not measured: a gain too small to be proven is still a better use of bits than none.
    """
    while True:
        gains = problem.rises[chosen] - problem.rises[_next_wider(problem, chosen)]
        for layer in np.argsort(-problem.rises[chosen], kind="stable").tolist():
            moved = chosen.copy()
            moved[layer] += 1
            if gains[layer] > 0 and _overshoot(problem, moved) == 0:
                chosen = moved
                break
        else:
            return chosen


def _next_wider(problem: Problem, chosen: IntArray) -> IntArray:
    """(layers,) the next wider choice of each layer, or its own at the widest."""
    return np.minimum(chosen + 1, problem.choices.starts[1:] - 1)


def _move(problem: Problem, trials: Trials, most: float) -> None:
    """Phase 2: a step more for the layer that has changed most, taken from those changed least.

    A layer whose step does not help rests until all others have been tried.
    """
    resting: set[int] = set()
    helped = False
    while trials.count < most:
        by_change = np.argsort(-problem.rises[trials.best], kind="stable").tolist()
        layer = next((layer for layer in by_change if layer not in resting), None)
        if layer is None:
            if not helped:
                return
            resting, helped = set(), False
            continue
        moved = _raised(problem, trials.best, layer)
        if moved is not None and not trials.knows(moved) and trials.helps(moved):
            helped = True
        else:
            resting.add(layer)


def _raised(problem: Problem, chosen: IntArray, layer: int) -> IntArray | None:
    """One width step more for a layer, with room made for it; None where there is no way."""
    if chosen[layer] + 1 == problem.choices.starts[layer + 1]:
        return None
    moved = chosen.copy()
    moved[layer] += 1
    return _lowered(problem, moved, kept=layer)


def _lowered(problem: Problem, chosen: IntArray, kept: int | None = None) -> IntArray | None:
    """Take width steps from the layers that have changed least until all limits hold.

    Only steps that bring the plan nearer to its limits are taken: fewer bits may be slower.
    """
    chosen, firsts = chosen.copy(), problem.choices.starts[:-1]
    while (over := _overshoot(problem, chosen)) > 0:
        for layer in np.argsort(problem.rises[chosen], kind="stable").tolist():
            if layer == kept or chosen[layer] == firsts[layer]:
                continue
            chosen[layer] -= 1
            if _overshoot(problem, chosen) < over:
                break
            chosen[layer] += 1
        else:
            return None
    return chosen


def _overshoot(problem: Problem, chosen: IntArray) -> float:
    """By how much a plan breaks its limits, in shares of them; 0 where all hold."""
    return sum(max(0.0, cap.total(chosen) - cap.limit) / cap.unit for cap in problem.caps())


def _summed_score(problem: Problem) -> Measure:
    """What decides where nothing is measured."""
    return lambda plan: problem.objective(problem.chosen(plan))
