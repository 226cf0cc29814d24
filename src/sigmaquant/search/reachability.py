"""Which budgets a device can meet, and the sentences that say why one cannot be met."""

from __future__ import annotations

from collections.abc import Iterable

from sigmaquant.artifact import Frozen
from sigmaquant.budget import Budget, format_cost

BUDGET_NAMES = {
    "flash_bytes": "flash",
    "peak_ram_bytes": "ram",
    "latency_ms": "latency",
    "energy_uj": "energy",
}
"""Metrics as the user names them when setting a budget."""


class Share(Frozen):
    """What one place takes of a metric: a layer, an operator, or all that is not a layer."""

    place: str
    share: float


class MetricReach(Frozen):
    """The values of one metric that some plan has.

    Attributes:
        metric: its name.
        limit: the budget; None where there is none.
        least: smallest value of any plan, the other metrics aside.
        most: largest value of any plan.
        largest: where most of ``least`` is spent, in falling order.
        at_peak: of peak RAM, what takes most of it at the first of ``largest``: tensors.
    """

    metric: str
    limit: float | None
    least: float
    most: float
    largest: tuple[Share, ...]
    at_peak: tuple[Share, ...] = ()

    @property
    def reachable(self) -> bool:
        """Whether some plan meets the limit."""
        return self.limit is None or self.least <= self.limit

    @property
    def slack(self) -> bool:
        """Whether every plan meets the limit."""
        return self.limit is not None and self.most <= self.limit


class Conflict(Frozen):
    """Budgets that can be met one by one, but not together.

    Attributes:
        limits: the conflicting budgets by metric: a pair, or three where no pair conflicts.
        alternatives: by metric, the value it has to be raised to if all other budgets stay;
            a metric is missing where raising it alone does not help.
    """

    limits: dict[str, float]
    alternatives: dict[str, float]


class Reachability(Frozen):
    """How the budgets lie to what the device can reach.

    Attributes:
        device: the profile's name.
        activation_bits: the widest activation where widths are fixed; peak RAM depends on it.
        activations_chosen: whether activation widths are chosen, and with them peak RAM.
        metrics: every metric alone.
        conflict: budgets that exclude each other, once each alone is reachable.
        nearest: the budgets, raised where they have to be: some plan meets all of them.
    """

    device: str
    activation_bits: int
    activations_chosen: bool = False
    metrics: dict[str, MetricReach]
    conflict: Conflict | None
    nearest: dict[str, float]

    @property
    def feasible(self) -> bool:
        """Whether some plan meets all budgets."""
        return self.conflict is None and all(reach.reachable for reach in self.metrics.values())

    def slack_budgets(self) -> tuple[str, ...]:
        """A sentence for each budget that does not restrict the plan."""
        return tuple(
            f"{_budget(metric, reach.limit)} is slack: the costliest plan takes "
            f"{format_cost(metric, reach.most)}"
            for metric, reach in self.metrics.items()
            if reach.limit is not None and reach.slack
        )

    def why_infeasible(self) -> str:
        """What cannot be met, what is to blame, and the nearest budget that can be met."""
        unreachable = [reach for reach in self.metrics.values() if not reach.reachable]
        sentences = [self._unreachable(reach) for reach in unreachable]
        if self.conflict is not None:
            sentences.append(self._conflicting(self.conflict))
        raised = [
            f"{BUDGET_NAMES[metric]} to {rounded_up(metric, value)}"
            for metric, value in self.nearest.items()
            if value != self.metrics[metric].limit
        ]
        return " ".join([*sentences, f"Nearest feasible budget: raise {_joined(raised)}."])

    def _unreachable(self, reach: MetricReach) -> str:
        assert reach.limit is not None
        least = format_cost(reach.metric, reach.least)
        start = f"{_budget(reach.metric, reach.limit)} cannot be met on {self.device}: "
        if reach.metric == "peak_ram_bytes":
            return f"{start}{self._peak(reach, least)}; a smaller input lowers it."
        return f"{start}the least reachable is {least}, of which {_blame(reach.largest)}."

    def _peak(self, reach: MetricReach, least: str) -> str:
        where = f", at {reach.largest[0].place}" if reach.largest else ""
        if reach.at_peak:
            where += f", where {_blame(reach.at_peak)}"
        if self.activations_chosen:
            return f"with the narrowest activations the peak is {least}{where}"
        bits = self.activation_bits
        return f"with {bits}-bit activations the peak is {least}{where}, whatever the weight widths"

    def _conflicting(self, conflict: Conflict) -> str:
        budgets = _joined(_budget(metric, limit) for metric, limit in conflict.limits.items())
        needs = [
            f"{BUDGET_NAMES[metric]} needs at least {rounded_up(metric, value)}"
            for metric, value in conflict.alternatives.items()
        ]
        relaxed = (
            f"with the others kept, {' or '.join(needs)}"
            if needs
            else "raising a single one does not help"
        )
        return f"{budgets} cannot be met together on {self.device}: {relaxed}."


def rounded_up(metric: str, value: float) -> str:
    """A cost for people, rounded so that it is enough when it is set as the budget.

    >>> rounded_up("flash_bytes", 100_006)
    '97.67 KiB'
    """
    name, text = BUDGET_NAMES[metric], format_cost(metric, value)
    raised = value
    while Budget(**{name: text}).limits()[metric] < value:
        raised *= 1.0001
        text = format_cost(metric, raised)
    return text


def _budget(metric: str, limit: float) -> str:
    return f"{BUDGET_NAMES[metric]} of {format_cost(metric, limit)}"


def _blame(shares: Iterable[Share]) -> str:
    return _joined(f"{share.place} takes {share.share:.0%}" for share in shares)


def _joined(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
