"""One choice for each slot at the least objective under limits, as a mixed-integer program.

This is the multiple-choice knapsack problem (Sinha and Zoltners 1979) with several resources,
solved by branch and cut in HiGHS (Huangfu and Hall 2018). Peak RAM, a largest sum, is one resource
for each step of the schedule. HiGHS is called through its own binding: the copy inside SciPy writes
to stdout, where results go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import highspy
import numpy as np

from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.choices import ADDITIVE, PEAK_RAM, Choices

_ROW_SCALE = 1e4
"""A limit's size inside HiGHS, whose absolute tolerance of 1e-6 is then 1e-10 of the limit."""
_OBJECTIVE_SCALE = 1e4
"""The objective's span inside HiGHS, whose absolute gap of 1e-6 is then 1e-10 of the span."""
_CUTS = 20
"""How many plans that overstep a limit within that tolerance are cut off one by one."""
_TIGHTENING = 1e-9
"""By how much of itself a limit is lowered where there are more of them."""


@dataclass(frozen=True, eq=False)
class Cap:
    """An upper limit on a sum over the chosen choices.

    Attributes:
        values: (choices,).
        limit: of the sum and ``fixed`` together.
        fixed: spent whatever is chosen.
    """

    values: FloatArray
    limit: float
    fixed: float = 0.0

    @property
    def unit(self) -> float:
        """The size that tolerances are relative to."""
        return max(abs(self.limit), float(np.abs(self.values).max())) or 1.0

    def total(self, chosen: IntArray) -> float:
        """What a plan comes to, ``fixed`` included, added in the order of its slots."""
        return sum(self.values[chosen].tolist(), self.fixed)

    def holds(self, chosen: IntArray) -> bool:
        """Whether a plan keeps the limit, to the last bit."""
        return self.total(chosen) <= self.limit

    def tightened(self) -> Cap:
        """The same with a limit lowered by more than HiGHS's tolerance."""
        return replace(self, limit=self.limit - _TIGHTENING * self.unit)


def budget_caps(choices: Choices, limits: Mapping[str, float]) -> tuple[Cap, ...]:
    """The limits as caps: one for each additive metric, one for each step that RAM may bind at."""
    additive = tuple(
        Cap(choices.costs[metric], limits[metric], choices.fixed[metric])
        for metric in ADDITIVE
        if metric in limits
    )
    return (*additive, *ram_caps(choices, limits.get(PEAK_RAM, np.inf)))


def ram_caps(choices: Choices, limit: float) -> tuple[Cap, ...]:
    """A cap for each step of the schedule that takes more than the limit in some plan."""
    if choices.highest_peak <= limit:
        return ()
    caps = ram_steps(choices, limit)
    return tuple(cap for cap in caps if not cap.holds(choices.smallest(-cap.values)))


def ram_steps(choices: Choices, limit: float) -> tuple[Cap, ...]:
    """A cap for each step of the schedule."""
    steps = zip(choices.ram.values, choices.ram.fixed.tolist(), strict=True)
    return tuple(Cap(values, limit, fixed) for values, fixed in steps)


class Outcome(Enum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    STOPPED = "stopped"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, eq=False)
class Answer:
    """What HiGHS found.

    Attributes:
        outcome: proven optimal, stopped by the time limit, or proven infeasible.
        chosen: (slots,) the best plan; None where none was found.
        bound: no plan has a smaller objective.
    """

    outcome: Outcome
    chosen: IntArray | None
    bound: float


def minimise(
    choices: Choices,
    objective: FloatArray,
    caps: Sequence[Cap],
    *,
    time_limit_seconds: float,
    relative_gap: float = 0.0,
    start: IntArray | None = None,
) -> Answer:
    """Find the plan of least summed objective that keeps every cap.

    Args:
        choices: what can be chosen.
        objective: (choices,).
        caps: limits; an answer keeps them to the last bit, not to a solver's tolerance.
        time_limit_seconds: of one solve; more are needed only where plans lie just above a limit.
        relative_gap: how far from the optimum counts as optimal.
        start: (layers,) a known plan, to begin from.
    """

    def solve(all_caps: Sequence[Cap]) -> Answer:
        return _solve(
            _Program(choices, objective, all_caps), time_limit_seconds, relative_gap, start
        )

    return _kept_to_the_last_bit(solve, choices, caps)


def minimise_peak(
    choices: Choices,
    caps: Sequence[Cap],
    *,
    time_limit_seconds: float,
    start: IntArray | None = None,
) -> Answer:
    """Find the plan of least peak RAM that keeps every cap; arguments as for ``minimise``.

    One more column is what the peak stays below the highest that any plan has: the least of the
    rooms that the steps of the schedule leave.
    """
    highest = choices.highest_peak
    steps = ram_steps(choices, highest)

    def solve(all_caps: Sequence[Cap]) -> Answer:
        program = _Program(choices, np.zeros(len(choices)), all_caps, peak_of=steps)
        return _solve(program, time_limit_seconds, 0.0, start)

    return _kept_to_the_last_bit(solve, choices, caps)


def cheapest(choices: Choices, values: FloatArray, time_limit_seconds: float) -> IntArray:
    """The plan of least sum without any cap: (slots,); as good as proven when the time ends."""
    least = choices.smallest(values)
    if not choices.links.readers:
        return least
    answer = minimise(
        choices,
        values,
        (),
        time_limit_seconds=time_limit_seconds,
        start=choices.agreeing(least),
    )
    assert answer.chosen is not None
    return answer.chosen


def _kept_to_the_last_bit(
    solve: Callable[[Sequence[Cap]], Answer], choices: Choices, caps: Sequence[Cap]
) -> Answer:
    """The first answer that oversteps no cap, not even within the solver's tolerance."""
    cuts: list[Cap] = []
    for _ in range(_CUTS):
        answer = solve([*caps, *cuts])
        chosen = answer.chosen
        if chosen is None or all(cap.holds(chosen) for cap in caps):
            return answer
        cuts.append(_any_but(choices, chosen))
    return solve([cap.tightened() for cap in caps])


def _any_but(choices: Choices, chosen: IntArray) -> Cap:
    """A cap that every plan keeps but one."""
    taken = np.isin(np.arange(len(choices)), chosen).astype(float)
    return Cap(taken, limit=choices.slots - 1)


def row_prices(
    choices: Choices, objective: FloatArray, caps: Sequence[Cap]
) -> tuple[FloatArray, FloatArray]:
    """What the relaxed program would pay for one more unit of each cap and of each link.

    The relaxation may take shares of several choices of a slot, so it is a linear program.

    Returns:
        (caps,) and (links,), none negative.
    """
    program = _Program(choices, objective, caps)
    solver = _silent_solver()
    solver.passModel(program.relaxation())
    solver.run()
    duals = np.array(solver.getSolution().row_dual)[choices.slots :]
    prices = np.maximum(-duals, 0.0) / program.scale
    of_caps, of_links = prices[: len(caps)], prices[len(caps) :]
    return np.asarray(of_caps * program.factors), of_links


@dataclass(frozen=True, eq=False)
class _Program:
    """What HiGHS is asked.

    Attributes:
        choices: the columns: a share of each choice.
        objective: (choices,), minimised unless ``peak_of`` is.
        caps: rows, after those that make the shares of each slot add up to 1.
        peak_of: caps of one limit that always hold; the least room in them is maximised.
    """

    choices: Choices
    objective: FloatArray
    caps: Sequence[Cap]
    peak_of: Sequence[Cap] = ()

    @cached_property
    def scale(self) -> float:
        """The objective inside HiGHS, over the true one."""
        if self.peak_of:
            return _OBJECTIVE_SCALE / self.highest_peak
        return _OBJECTIVE_SCALE / _span(self.choices, self.objective)

    @property
    def highest_peak(self) -> float:
        """The limit of ``peak_of``."""
        return self.peak_of[0].limit or 1.0

    @cached_property
    def factors(self) -> FloatArray:
        """(caps,) the caps inside HiGHS, over the true ones; then those of ``peak_of``."""
        return np.array([_ROW_SCALE / cap.unit for cap in (*self.caps, *self.peak_of)])

    def relaxation(self) -> highspy.HighsLp:
        """The program without its integrality, and without the column of the room.

        The rows: shares of a slot add up to 1; the caps; those of ``peak_of``; the links.
        """
        choices, caps = self.choices, (*self.caps, *self.peak_of)
        count, links = len(choices), choices.links
        used = [np.flatnonzero(cap.values) for cap in caps]
        scaled = [cap.values[own] * f for cap, own, f in zip(caps, used, self.factors, strict=True)]
        room = [(cap.limit - cap.fixed) * f for cap, f in zip(caps, self.factors, strict=True)]
        lengths = [*np.diff(choices.starts), *(len(own) for own in used), *np.diff(links.starts)]
        unbounded = np.full(len(caps) + links.rows, -highspy.kHighsInf)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = count, len(lengths)
        model.col_cost_ = np.zeros(count) if self.peak_of else self.objective * self.scale
        model.col_lower_, model.col_upper_ = np.zeros(count), np.ones(count)
        model.row_lower_ = np.concatenate([np.ones(choices.slots), unbounded])
        model.row_upper_ = np.concatenate([np.ones(choices.slots), room, np.zeros(links.rows)])
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.cumsum([0, *lengths])
        model.a_matrix_.index_ = np.concatenate([np.arange(count), *used, links.choice])
        model.a_matrix_.value_ = np.concatenate([np.ones(count), *scaled, links.coefficient])
        return model

    def solver(self) -> highspy.Highs:
        """HiGHS with the integer program in it."""
        solver, model = _silent_solver(), self.relaxation()
        model.integrality_ = [highspy.HighsVarType.kInteger] * len(self.choices)
        solver.passModel(model)
        if self.peak_of:  # the room as a share of the highest peak
            first = self.choices.slots + len(self.caps)
            rows = np.arange(first, first + len(self.peak_of))
            taken = self.highest_peak * self.factors[len(self.caps) :]
            solver.addCol(-_OBJECTIVE_SCALE, 0.0, 1.0, len(rows), rows, taken)
            solver.changeObjectiveOffset(_OBJECTIVE_SCALE)
        return solver

    def columns(self, chosen: IntArray) -> list[float]:
        """A plan as a value of every column."""
        taken: list[float] = np.isin(np.arange(len(self.choices)), chosen).astype(float).tolist()
        if not self.peak_of:
            return taken
        return [*taken, 1.0 - max(cap.total(chosen) for cap in self.peak_of) / self.highest_peak]


def _solve(
    program: _Program, time_limit_seconds: float, relative_gap: float, start: IntArray | None
) -> Answer:
    solver = program.solver()
    solver.setOptionValue("time_limit", time_limit_seconds)
    solver.setOptionValue("mip_rel_gap", relative_gap)
    # It solves ever new subproblems around the relaxation: a third of all time, for nothing here.
    solver.setOptionValue("mip_heuristic_run_rens", False)
    if start is not None:
        known = highspy.HighsSolution()
        known.col_value = program.columns(start)
        solver.setSolution(known)
    solver.run()
    return _answer(solver, program)


def _silent_solver() -> highspy.Highs:
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor has no annotations
    solver.silent()
    return solver


def _span(choices: Choices, objective: FloatArray) -> float:
    """Difference between the largest and the smallest objective that choices can add up to."""
    firsts = choices.starts[:-1]
    spans = np.maximum.reduceat(objective, firsts) - np.minimum.reduceat(objective, firsts)
    return float(spans.sum()) or 1.0


def _answer(solver: highspy.Highs, program: _Program) -> Answer:
    ended, status = highspy.HighsModelStatus, solver.getModelStatus()
    if status in (ended.kInfeasible, ended.kUnboundedOrInfeasible):
        return Answer(Outcome.INFEASIBLE, None, np.inf)
    assert status in (ended.kOptimal, ended.kTimeLimit), solver.modelStatusToString(status)
    info = solver.getInfo()
    found = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    shares = np.array(solver.getSolution().col_value[: len(program.choices)])
    return Answer(
        outcome=Outcome.OPTIMAL if status == ended.kOptimal else Outcome.STOPPED,
        chosen=program.choices.smallest(-shares) if found else None,
        bound=info.mip_dual_bound / program.scale,
    )
