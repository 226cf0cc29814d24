"""The greedy loop: everything at its narrowest width, then the best upgrade, while one fits.

An upgrade gives a layer or a precision group any width that scores better, not only the next one:
costs are not monotone in bits (on some cores 5 to 7 bits are slower to unpack than 8 are to read),
so that a wide step may be cheaper than a narrow one, or free. Where activation widths are chosen,
the loop also starts from the native ones, and the better end counts.

The best upgrade spends least of the budgets for what it gains. *Spent* is the sum, over the
budgets, of the share it takes of what is left; of RAM, at the step where that is most. What is left
and not the whole, so that the scarcest budget weighs most; Toyoda 1975 weighs the resources of 0-1
programs likewise. In trials with random tables (60 to 200 layers, three tight budgets) its plans
scored a median of 1 to 4 % over the optimum; with shares of the whole it was 17 % and more on
average.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.choices import ADDITIVE, PEAK_RAM
from sigmaquant.search.feasibility import native_plan, starting_plan
from sigmaquant.search.integer_program import Cap, budget_caps, ram_caps
from sigmaquant.search.measurement import Measure
from sigmaquant.search.problem import Problem
from sigmaquant.search.solution import Solution, solution

_ROUNDING = 1e-12
"""Share of a limit by which the running room may err after a thousand additions."""
_FREE = 1e-300
"""What a free upgrade counts as spending: of two free ones, the larger gain comes first."""


@dataclass(frozen=True)
class Greedy:
    """The greedy loop as a strategy; close to ``Exact`` in milliseconds, without a proof."""

    def solve(self, problem: Problem, measure: Measure | None = None) -> Solution:
        """Upgrade one width after the other until nothing fits any more; nothing is measured.

        Raises:
            InfeasibleError: no plan meets the budgets.
        """
        started = time.perf_counter()
        chosen = climbed(problem)
        return solution(
            problem,
            chosen,
            strategy="greedy",
            status="feasible",
            gap=None,
            seconds=time.perf_counter() - started,
        )


def climbed(problem: Problem) -> IntArray:
    """The plan that the loop ends with: (slots,).

    Raises:
        InfeasibleError: no plan meets the budgets.
    """
    starts = [starting_plan(problem)]
    if problem.choices.groups:
        native = native_plan(problem)
        starts = [native, *starts] if problem.fits(problem.plan(native, "native")) else starts
    return min((climb(problem, start) for start in starts), key=problem.objective)


def climb(problem: Problem, start: IntArray) -> IntArray:
    """Upgrade a plan within the budget until no upgrade fits: (slots,) to (slots,)."""
    upgrades = _Upgrades(problem, start)
    while (best := upgrades.best()) is not None:
        upgrades.take(best)
    return upgrades.chosen


class _Upgrades:
    """What every choice would change in the plan, kept up to date while the plan climbs.

    An upgrade alters the entries of its own slot, and of those that depend on it. How much a change
    spends has to be weighed anew each time, as all budgets shrink: one pass over flat arrays.
    """

    def __init__(self, problem: Problem, start: IntArray) -> None:
        choices, limits = problem.choices, problem.budget.limits()
        self.chosen = start.copy()
        self._choices = choices
        self._rises = problem.rises
        # A budget that even the costliest plan meets is never spent.
        caps = budget_caps(choices, {m: limit for m, limit in limits.items() if m in ADDITIVE})
        self._caps = [c for c in caps if not c.holds(choices.smallest(-c.values))]
        self._costs = np.array([cap.values for cap in self._caps]).reshape(-1, len(choices))
        self._room = _room(self._caps, self._costs[:, start])
        self._rounding = _ROUNDING * np.array([cap.unit for cap in self._caps])
        self._spent_by = np.zeros_like(self._costs)
        steps = ram_caps(choices, limits.get(PEAK_RAM, np.inf))
        # Whole bytes, which floats add up exactly.
        self._bytes = np.array([cap.values for cap in steps]).reshape(-1, len(choices))
        # Layers come first, and mostly take no RAM.
        groups = int(choices.starts[len(choices.layers)])
        self._first_with_ram = 0 if self._bytes[:, :groups].any() else groups
        self._ram_room = _room(steps, self._bytes[:, start])
        self._bytes_by = np.zeros((len(steps), len(choices) - self._first_with_ram))
        self._per_gain = np.full_like(self._rises, np.inf)
        for slot in range(choices.slots):
            self._weigh(slot)

    def best(self) -> int | None:
        """The choice that spends least for its gain; None where none that gains fits."""
        room = np.maximum(self._room, 0.0) + self._rounding
        shares = self._spent_by / room[:, None]
        spent = shares.sum(axis=0) + _FREE
        spent[(shares > 1.0).any(axis=0)] = np.inf
        if len(self._bytes):
            with np.errstate(divide="ignore", invalid="ignore"):
                taken = np.nan_to_num(self._bytes_by / self._ram_room[:, None], posinf=np.inf)
            of_ram = taken.max(axis=0)
            spent[self._first_with_ram :] += np.where(of_ram > 1.0, np.inf, of_ram)
        spent *= self._per_gain
        best = int(spent.argmin())
        return best if np.isfinite(spent[best]) else None

    def take(self, choice: int) -> None:
        """Carry an upgrade out, or drop it where the exact sums say that it does not fit."""
        slot = int(self._choices.slot[choice])
        before, options = self._choices.changes(self.chosen, slot)
        after = options[:, options[0] == choice][:, 0]
        slots = self._choices.slot[before]
        self.chosen[slots] = after
        close = self._spent_by[:, choice] > self._room - self._rounding
        if close.any() and not all(cap.holds(self.chosen) for cap in self._caps):
            self.chosen[slots] = before
            self._per_gain[choice] = np.inf
            return
        self._room -= (self._costs[:, after] - self._costs[:, before]).sum(axis=1)
        self._ram_room -= (self._bytes[:, after] - self._bytes[:, before]).sum(axis=1)
        for other in self._choices.links.affected(slot):
            self._weigh(other)

    def _weigh(self, slot: int) -> None:
        """Set what the choices of one slot would spend and gain against its present one."""
        before, after = self._choices.changes(self.chosen, slot)
        own = after[0]
        self._per_gain[self._choices.starts[slot] : self._choices.starts[slot + 1]] = np.inf
        self._spent_by[:, own] = _increase(self._costs, before, after)
        if own[0] >= self._first_with_ram:
            self._bytes_by[:, own - self._first_with_ram] = _increase(self._bytes, before, after)
        # Differences first: what does not change has to add up to exactly nothing.
        gain = (self._rises[before][:, None] - self._rises[after]).sum(axis=0)
        with np.errstate(divide="ignore", over="ignore"):
            self._per_gain[own] = 1 / np.maximum(gain, 0.0)


def _room(caps: Sequence[Cap], spent: FloatArray) -> FloatArray:
    """What a plan leaves of each cap: from (caps, slots) to (caps,)."""
    return np.asarray(np.array([cap.limit - cap.fixed for cap in caps]) - spent.sum(axis=1))


def _increase(costs: FloatArray, before: IntArray, after: IntArray) -> FloatArray:
    """What changes add to each cost, 0 where they save: (costs, choices of a slot)."""
    added = costs[:, after] - costs[:, before][:, :, None]
    return np.asarray(np.maximum(added.sum(axis=1), 0.0))
