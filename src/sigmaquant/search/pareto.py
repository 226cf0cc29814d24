"""The front over two or three metrics: what every saving costs.

Epsilon-constraint (Haimes, Lasdon and Wismer 1971): the first metric is minimised with limits on
the others, and the limits are moved. What was reached is then kept while the others are minimised
in turn, so that no plan dominates the answer. A weighted sum would miss all points inside the
convex hull.

The next limits are the middle of the largest box that is left between the points, so that there are
more of them where the front bends: Hamacher, Pedersen and Ruzika 2007 for two metrics, and boxes
of limits as Kirlik and Sayin 2014 have them for three.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sigmaquant.errors import ConfigError
from sigmaquant.search.arrays import IntArray
from sigmaquant.search.feasibility import starting_plan
from sigmaquant.search.front import Front, knee_of
from sigmaquant.search.greedy import climbed
from sigmaquant.search.integer_program import Outcome
from sigmaquant.search.least import least_of
from sigmaquant.search.problem import RISE, Problem
from sigmaquant.search.solution import Solution, solution

TIME_LIMIT_SECONDS = 60.0
"""Of a whole front: far above the second or two that 12 points of 200 layers take."""
_QUESTIONS_A_POINT = 8
"""How many limits are tried for each point asked for: on short fronts most find nothing new."""
_NEGLIGIBLE = 1e-4
"""Size of a box, as a share of the one around the whole front, that is not worth a question."""


def pareto(
    problem: Problem,
    metrics: Sequence[str] = ("rise", "flash_bytes"),
    points: int = 12,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
) -> Front:
    """Find plans within the budget that trade the metrics for each other.

    Args:
        problem: its budget holds for all plans.
        metrics: two or three of "rise", "flash_bytes", "latency_ms", "energy_uj" and, where
            activation widths are chosen, "peak_ram_bytes".
        points: so many at most; the plan of least value in each metric is always one of them.
        time_limit_seconds: when it ends, what was found is the front; each point may take an equal
            share of it, and is "unproven" where that was not enough.

    Raises:
        ConfigError: metrics that cannot be traded, or fewer points than metrics.
        InfeasibleError: no plan meets the budget.
    """
    started = time.perf_counter()
    traded = _checked(problem, metrics, points)
    found = _Answers(problem, traded, time_limit_seconds / points, started + time_limit_seconds)
    ends = [found.end(metric) for metric in traded]
    _Boxes(found, ends).fill(points)
    best = _not_dominated(found.points)
    return Front(
        device=problem.costs.device,
        metrics=traded,
        points=tuple(_solution(problem, traded, point) for point in best),
        knee=knee_of([point.values for point in best]),
        limits=problem.budget.limits(),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, eq=False)
class _Point:
    """A plan on the front.

    Attributes:
        chosen: (slots,) the plan.
        values: of the front's metrics.
        minimised: the metric that came first.
        proven: whether no plan dominates it.
        seconds: time to find it.
    """

    chosen: IntArray
    values: tuple[float, ...]
    minimised: str
    proven: bool
    seconds: float


class _Answers:
    """All points found, each of which is a start for the next ones."""

    def __init__(
        self, problem: Problem, metrics: tuple[str, ...], seconds_a_point: float, deadline: float
    ) -> None:
        self.metrics = metrics
        self.points: list[_Point] = []
        self._problem = problem
        self._seconds_a_point = seconds_a_point
        self._deadline = deadline
        start = starting_plan(problem)
        self._known = [start, climbed(problem)]

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit of the front has ended."""
        return time.perf_counter() >= self._deadline

    def end(self, metric: str) -> _Point:
        """The point of least value in one metric."""
        found = self._best((metric, *(m for m in self.metrics if m != metric)), {})
        assert found is not None
        return found

    def within(self, limits: Mapping[str, float]) -> _Point | None:
        """The point of least first metric within limits on the others; None if none was found."""
        return self._best(self.metrics, limits)

    def _best(self, order: tuple[str, ...], limits: Mapping[str, float]) -> _Point | None:
        """The plan of least first metric, of these that of least second metric, and so on."""
        started = time.perf_counter()
        deadline = min(self._deadline, started + self._seconds_a_point)
        caps = [*self._problem.caps()]
        for metric, limit in limits.items():
            caps += self._problem.caps_on(metric, limit)
        proven = True
        # Of plans that are alike in the traded metrics, the one of least rise is wanted.
        for metric in dict.fromkeys((*order, RISE)):
            seconds = max(0.0, deadline - time.perf_counter())
            answer = least_of(
                self._problem, metric, caps, known=self._known, time_limit_seconds=seconds
            )
            if answer.chosen is None:
                return None
            self._known.append(answer.chosen)
            caps += self._problem.caps_on(metric, self._problem.value(metric, answer.chosen))
            proven &= answer.outcome is Outcome.OPTIMAL
        chosen = self._known[-1]
        values = tuple(self._problem.value(metric, chosen) for metric in self.metrics)
        point = _Point(chosen, values, order[0], proven, time.perf_counter() - started)
        if values not in [other.values for other in self.points]:
            self.points.append(point)
        return point


@dataclass(frozen=True)
class _Box:
    """A range of limits on all metrics but the first."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @property
    def middle(self) -> tuple[float, ...]:
        return tuple((a + b) / 2 for a, b in zip(self.lower, self.upper, strict=True))

    def without(self, answered: _Box) -> list[_Box]:
        """What is left of the box, in disjoint boxes, when a part that it contains is taken out."""
        left, rest = [], self
        for axis in range(len(self.lower)):
            low, high = answered.lower[axis], answered.upper[axis]
            left.append(replace(rest, upper=_with(rest.upper, axis, low)))
            left.append(replace(rest, lower=_with(rest.lower, axis, high)))
            rest = _Box(_with(rest.lower, axis, low), _with(rest.upper, axis, high))
        return [box for box in left if all(np.less(box.lower, box.upper))]


class _Boxes:
    """The limits between the ends to which the answer is not known yet."""

    def __init__(self, answers: _Answers, ends: Sequence[_Point]) -> None:
        values = np.array([end.values for end in ends])
        spans = np.ptp(values, axis=0)
        self._answers = answers
        # A metric that is the same at all ends needs no limit.
        self._axes = [at for at in range(1, len(spans)) if spans[at] > 0]
        self._spans, self._worst = spans, float(values[:, 0].max())
        whole = _Box(
            lower=tuple(values[:, self._axes].min(axis=0).tolist()),
            upper=tuple(values[:, self._axes].max(axis=0).tolist()),
        )
        self._boxes = [whole] if self._axes else []
        self._asked: list[tuple[tuple[float, ...], _Point | None]] = [(whole.upper, ends[0])]

    def fill(self, points: int) -> None:
        """Ask in the middle of the largest box until there are points enough, or no time."""
        for _ in range(_QUESTIONS_A_POINT * points):
            box = max(self._boxes, key=self._size, default=None)
            if box is None or self._size(box) < _NEGLIGIBLE:
                return
            if len(self._answers.points) >= points or self._answers.out_of_time:
                return
            self._boxes.remove(box)
            answer = self._ask(box.middle)
            # With limits between the answer's own values and those asked for, it is the same.
            own = box.lower if answer is None else np.maximum(box.lower, self._limited(answer))
            self._boxes += box.without(_Box(tuple(own), box.middle))

    def _ask(self, limits: tuple[float, ...]) -> _Point | None:
        for wider, answer in self._asked:
            if _under(limits, wider) and (answer is None or _under(self._limited(answer), limits)):
                return answer
        names = [self._answers.metrics[at] for at in self._axes]
        answer = self._answers.within(dict(zip(names, limits, strict=True)))
        self._asked.append((limits, answer))
        return answer

    def _size(self, box: _Box) -> float:
        """The box's volume: its limits, and what the first metric can be within them.

        All sides are shares of the whole front's.
        """
        above = [p.values[0] for p in self._answers.points if _under(self._limited(p), box.lower)]
        below = [p.values[0] for limits, p in self._asked if p and _under(box.upper, limits)]
        height = min(above, default=self._worst) - max(below)
        sides = np.subtract(box.upper, box.lower) / self._spans[self._axes]
        return float(np.prod(sides)) * (height / self._spans[0] if self._spans[0] > 0 else 1.0)

    def _limited(self, point: _Point) -> tuple[float, ...]:
        """The point's values in the metrics that have limits."""
        return tuple(point.values[at] for at in self._axes)


def _checked(problem: Problem, metrics: Sequence[str], points: int) -> tuple[str, ...]:
    """The metrics with "rise" first: the hardest to keep within a limit is minimised."""
    traded = (RISE, *problem.costs_chosen)
    for metric in metrics:
        if metric not in traded:
            nearest = difflib.get_close_matches(metric, traded, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"{metric!r} cannot be traded; did you mean {nearest!r}? "
                f"These can: {', '.join(traded)}"
            )
    if not 2 <= len(metrics) <= 3 or len(set(metrics)) < len(metrics):
        raise ConfigError(
            f"a front is over two or three different metrics, not over {', '.join(metrics)!r}; "
            f"choose from {', '.join(traded)}"
        )
    if points < len(metrics):
        raise ConfigError(
            f"a front over {len(metrics)} metrics needs at least {len(metrics)} points, "
            f"one for the least of each; {points} were asked for"
        )
    return tuple(sorted(metrics, key=lambda metric: metric != RISE))


def _solution(problem: Problem, metrics: Sequence[str], point: _Point) -> Solution:
    """The record of a point, as the answer within its own costs."""
    totals = problem.costs.totals(problem.plan(point.chosen, "exact"))
    own = {metric: totals[metric] for metric in metrics if metric != RISE}
    return solution(
        problem.within(own),
        point.chosen,
        strategy="exact",
        minimised=point.minimised,
        status="optimal" if point.proven else "unproven",
        gap=0.0 if point.proven else None,
        seconds=point.seconds,
    )


def _not_dominated(points: Sequence[_Point]) -> list[_Point]:
    """The points that no other is as good as in every metric, ascending in the first."""
    kept = [p for p in points if not any(_under(q.values, p.values) for q in points if q is not p)]
    return sorted(kept, key=lambda point: point.values)


def _under(values: Sequence[float], limits: Sequence[float]) -> bool:
    return all(value <= limit for value, limit in zip(values, limits, strict=True))


def _with(values: tuple[float, ...], axis: int, value: float) -> tuple[float, ...]:
    return (*values[:axis], value, *values[axis + 1 :])
