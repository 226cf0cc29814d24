"""One choice for each layer at the least objective under limits, as a mixed-integer program.

This is the multiple-choice knapsack problem (Sinha and Zoltners 1979) with several resources,
solved by branch and cut in HiGHS (Huangfu and Hall 2018). HiGHS is called through its own binding:
the copy inside SciPy writes to stdout, where results go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import highspy
import numpy as np

from sigmaquant.search.choices import ADDITIVE, Choices, FloatArray, IntArray

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

    def holds(self, chosen: IntArray) -> bool:
        """Whether a plan keeps the limit, to the last bit."""
        return sum(self.values[chosen].tolist(), self.fixed) <= self.limit

    def tightened(self) -> Cap:
        """The same with a limit lowered by more than HiGHS's tolerance."""
        return replace(self, limit=self.limit - _TIGHTENING * self.unit)


def budget_caps(choices: Choices, limits: Mapping[str, float]) -> tuple[Cap, ...]:
    """The limits on additive metrics as caps; peak RAM does not depend on weight widths."""
    return tuple(
        Cap(choices.costs[metric], limits[metric], choices.fixed[metric])
        for metric in ADDITIVE
        if metric in limits
    )


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
        chosen: (layers,) the best plan; None where none was found.
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
    cuts: list[Cap] = []
    for _ in range(_CUTS):
        answer = _solve(choices, objective, [*caps, *cuts], time_limit_seconds, relative_gap, start)
        chosen = answer.chosen
        if chosen is None or all(cap.holds(chosen) for cap in caps):
            return answer
        cuts.append(_any_but(choices, chosen))
    tightened = [cap.tightened() for cap in caps]
    return _solve(choices, objective, tightened, time_limit_seconds, relative_gap, start)


def _any_but(choices: Choices, chosen: IntArray) -> Cap:
    """A cap that every plan keeps but one."""
    taken = np.isin(np.arange(len(choices)), chosen).astype(float)
    return Cap(taken, limit=len(choices.layers) - 1)


def cap_prices(choices: Choices, objective: FloatArray, caps: Sequence[Cap]) -> FloatArray:
    """What the relaxed program would pay for one more unit of each cap: (caps,), none negative.

    The relaxation may take shares of several choices of a layer, so it is a linear program.
    """
    scale = _OBJECTIVE_SCALE / _span(choices, objective)
    solver = _silent_solver()
    solver.passModel(_relaxation(choices, objective * scale, caps))
    solver.run()
    duals = np.array(solver.getSolution().row_dual)[len(choices.layers) :]
    units = np.array([cap.unit * scale / _ROW_SCALE for cap in caps])
    return np.asarray(np.maximum(-duals, 0.0) / units)


def _solve(
    choices: Choices,
    objective: FloatArray,
    caps: Sequence[Cap],
    time_limit_seconds: float,
    relative_gap: float,
    start: IntArray | None,
) -> Answer:
    scale = _OBJECTIVE_SCALE / _span(choices, objective)
    solver = _silent_solver()
    solver.setOptionValue("time_limit", time_limit_seconds)
    solver.setOptionValue("mip_rel_gap", relative_gap)
    # It solves ever new subproblems around the relaxation: a third of all time, for nothing here.
    solver.setOptionValue("mip_heuristic_run_rens", False)
    model = _relaxation(choices, objective * scale, caps)
    model.integrality_ = [highspy.HighsVarType.kInteger] * len(choices)
    solver.passModel(model)
    if start is not None:
        known = highspy.HighsSolution()
        known.col_value = np.isin(np.arange(len(choices)), start).astype(float).tolist()
        solver.setSolution(known)
    solver.run()
    return _answer(solver, choices, scale)


def _silent_solver() -> highspy.Highs:
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor has no annotations
    solver.silent()
    return solver


def _span(choices: Choices, objective: FloatArray) -> float:
    """Difference between the largest and the smallest objective a plan can have."""
    firsts = choices.starts[:-1]
    spans = np.maximum.reduceat(objective, firsts) - np.minimum.reduceat(objective, firsts)
    return float(spans.sum()) or 1.0


def _relaxation(choices: Choices, objective: FloatArray, caps: Sequence[Cap]) -> highspy.HighsLp:
    """Columns: a share of each choice. Rows: the shares of a layer add up to 1; then the caps."""
    layers, count = len(choices.layers), len(choices)
    factors = [_ROW_SCALE / cap.unit for cap in caps]
    room = [(cap.limit - cap.fixed) * factor for cap, factor in zip(caps, factors, strict=True)]
    scaled = [cap.values * factor for cap, factor in zip(caps, factors, strict=True)]
    cap_rows = [np.full(count, layers + at) for at in range(len(caps))]
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = count, layers + len(caps)
    model.col_cost_ = objective
    model.col_lower_, model.col_upper_ = np.zeros(count), np.ones(count)
    model.row_lower_ = np.concatenate([np.ones(layers), np.full(len(caps), -highspy.kHighsInf)])
    model.row_upper_ = np.concatenate([np.ones(layers), room])
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.arange(count + 1) * (1 + len(caps))
    model.a_matrix_.index_ = np.column_stack([choices.layer, *cap_rows]).ravel()
    model.a_matrix_.value_ = np.column_stack([np.ones(count), *scaled]).ravel()
    return model


def _answer(solver: highspy.Highs, choices: Choices, scale: float) -> Answer:
    ended, status = highspy.HighsModelStatus, solver.getModelStatus()
    if status in (ended.kInfeasible, ended.kUnboundedOrInfeasible):
        return Answer(Outcome.INFEASIBLE, None, np.inf)
    assert status in (ended.kOptimal, ended.kTimeLimit), solver.modelStatusToString(status)
    info = solver.getInfo()
    found = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    return Answer(
        outcome=Outcome.OPTIMAL if status == ended.kOptimal else Outcome.STOPPED,
        chosen=choices.smallest(-np.array(solver.getSolution().col_value)) if found else None,
        bound=info.mip_dual_bound / scale,
    )
