"""What a solver is asked: scores, costs and limits of every choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import METRICS, Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.errors import ArtifactError, DeviceError
from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.search.activations import TRIFLE, native_width, offered_activations, settled
from sigmaquant.search.arrays import FloatArray, IntArray
from sigmaquant.search.choices import PEAK_RAM, Choices
from sigmaquant.search.integer_program import Cap, budget_caps

RISE = "rise"
"""The summed rise of the loss as a metric, beside the costs."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Choose a width for each layer and, where the device gains by it, for each precision group.

    What is minimised is the summed rise of the loss, within the budget. The scores of weights are
    used as they are. A wider choice may score worse than a narrower one, and a rise may be
    negative: both are noise of the calibration data, and repairing them would hide it. Those of
    activations count as ``activations`` says, so that no group leaves its native width for nothing.

    Attributes:
        scores: rise of the loss by layer or group, and width.
        costs: costs by layer and width.
        budget: hard limits.
        activation_bits: by precision group, its native width; that of groups which are no slot.
        choices: the widths that can be chosen, as flat arrays.
        rises: (choices,) what each choice counts with, in the loss's unit.
        standard_errors: (choices,) of the scores behind ``rises``.
    """

    scores: SensitivityTable
    costs: CostTable
    budget: Budget
    activation_bits: Mapping[str, int]
    choices: Choices
    rises: FloatArray
    standard_errors: FloatArray

    @property
    def weight_widths(self) -> dict[str, tuple[int, ...]]:
        """Widths that each layer can be given, ascending."""
        return self._widths(self.choices.layers, 0, self.choices.weight_bits)

    @property
    def activation_widths(self) -> dict[str, tuple[int, ...]]:
        """Widths that each group can be given, ascending, where there is a choice."""
        first = len(self.choices.layers)
        return self._widths(self.choices.groups, first, self.choices.activation_bits)

    def caps(self) -> tuple[Cap, ...]:
        """The limits of the budget."""
        return budget_caps(self.choices, self.budget.limits())

    def caps_on(self, metric: str, limit: float) -> tuple[Cap, ...]:
        """A limit on the rise or on a cost."""
        if metric == RISE:
            return (Cap(self.rises, limit),)
        return budget_caps(self.choices, {metric: limit})

    def value(self, metric: str, chosen: IntArray) -> float:
        """A plan's rise or one of its costs."""
        if metric == RISE:
            return self.objective(chosen)
        return self.choices.total(metric, chosen)

    @property
    def costs_chosen(self) -> tuple[str, ...]:
        """The costs that depend on what is chosen: peak RAM may do so or not."""
        return tuple(m for m in METRICS if m != PEAK_RAM or self.choices.decide_ram)

    def within(self, limits: Mapping[str, float]) -> Problem:
        """The same question with some limits set anew, by metric."""
        return replace(self, budget=self.budget.model_copy(update=dict(limits)))

    def plan(self, chosen: IntArray, origin: str) -> BitPlan:
        """The plan of one choice for each slot."""
        return BitPlan(
            weight_bits=self.choices.bits(chosen),
            activation_bits={**self.activation_bits, **self.choices.group_bits(chosen)},
            origin=origin,
        )

    def chosen(self, plan: BitPlan) -> IntArray:
        """The choices of a plan, (slots,); KeyError where the problem lacks one."""
        return self.choices.index(plan.weight_bits, plan.activation_bits)

    def objective(self, chosen: IntArray) -> float:
        """Summed rise of the loss."""
        return sum(self.rises[chosen].tolist(), 0.0)

    def standard_error(self, chosen: IntArray) -> float:
        """Standard error of the objective, slots taken as independent."""
        return float(np.sqrt(np.square(self.standard_errors[chosen]).sum()))

    def fits(self, plan: BitPlan) -> bool:
        """Whether a plan is within the budget."""
        totals = self.costs.totals(plan)
        return all(totals[metric] <= limit for metric, limit in self.budget.limits().items())

    def with_activations(self, activation_bits: Mapping[str, int]) -> Problem:
        """The same question for weights alone, all activations at the given widths.

        Its objective lacks the rise that comes from activations.
        """
        if not self.choices.groups:
            return self
        fixed = {group: (bits,) for group, bits in activation_bits.items()}
        return _joined(self.scores, self.costs, self.budget, fixed)

    def _widths(
        self, names: tuple[str, ...], first: int, bits: IntArray
    ) -> dict[str, tuple[int, ...]]:
        starts = self.choices.starts[first:]
        return {
            name: tuple(np.unique(bits[starts[at] : starts[at + 1]]).tolist())
            for at, name in enumerate(names)
        }


def problem(
    scores: SensitivityTable,
    costs: CostTable,
    budget: Budget,
    activation_bits: int | None = None,
) -> Problem:
    """Join the tables, after checking that they speak of the same network.

    Widths that were scored but that the device does not have are left out.

    Args:
        scores: must cover every width that the device can run.
        costs: of the same layers.
        budget: hard limits.
        activation_bits: given to all activations. By default each precision group's width is
            chosen of those that were scored and that the device has, and is the native one where
            that was not scored.

    Raises:
        ArtifactError: the scores lack layers or widths, or are not finite.
        DeviceError: the costs lack layers, or a layer cannot run at that activation width.
    """
    _check_layers(scores, costs)
    if activation_bits is None and not scores.activation_scores:
        activation_bits = costs.native_activation_bits
    offered = offered_activations(costs, activation_bits)
    return _joined(scores, costs, budget, _scored(scores, costs, offered))


def _scored(
    scores: SensitivityTable, costs: CostTable, offered: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The widths of each group that there is a score for; the native one where that has none."""
    widths = {}
    for group, own in offered.items():
        scored = scores.activation_scores.get(group, {})
        native = native_width(own, costs.native_activation_bits)
        chosen = tuple(bits for bits in own if bits in scored)
        widths[group] = chosen if native in scored else (native,)
    return widths


def _joined(
    scores: SensitivityTable,
    costs: CostTable,
    budget: Budget,
    widths: Mapping[str, tuple[int, ...]],
) -> Problem:
    choices = Choices.of(costs, widths)
    native = {
        group: native_width(offered, costs.native_activation_bits)
        for group, offered in widths.items()
    }
    found = _found_scores(scores, costs, choices)
    return Problem(
        scores=scores,
        costs=costs,
        budget=budget,
        activation_bits=native,
        choices=choices,
        rises=_rises(found, choices, native),
        standard_errors=np.array([score.standard_error for score in found]),
    )


def _found_scores(scores: SensitivityTable, costs: CostTable, choices: Choices) -> list[Score]:
    """The score of every choice.

    Raises:
        ArtifactError: one is missing or not finite.
    """
    names = (*choices.layers, *(f"the activations {group}" for group in choices.groups))
    tables = [
        *(scores.scores[layer] for layer in choices.layers),
        *(scores.activation_scores.get(group, {}) for group in choices.groups),
    ]
    # One of the two widths says what a slot is scored at.
    layer = choices.slot < len(choices.layers)
    bits = np.where(layer, choices.weight_bits, choices.activation_bits).tolist()
    keys = list(zip(choices.slot.tolist(), bits, strict=True))
    missing = [(names[slot], width) for slot, width in keys if width not in tables[slot]]
    if missing:
        raise ArtifactError(
            f"the sensitivity table has no score for {_listed(missing)}, which {costs.device} can "
            "run; score the network again at these widths"
        )
    found = [tables[slot][width] for slot, width in keys]
    broken = [
        (names[slot], width)
        for (slot, width), score in zip(keys, found, strict=True)
        if not np.isfinite((score.rise, score.standard_error)).all()
    ]
    if broken:
        raise ArtifactError(
            f"the sensitivity table has no finite score for {_listed(broken)}; look for NaN or "
            "infinite values in the calibration data and the weights, and score again"
        )
    return found


def _rises(found: list[Score], choices: Choices, native: Mapping[str, int]) -> FloatArray:
    """What every choice counts with, (choices,): see ``activations`` for those of groups."""
    rises = np.array([score.rise for score in found])
    firsts = choices.starts[:-1]
    spans = np.maximum.reduceat(rises, firsts) - np.minimum.reduceat(rises, firsts)
    trifle = TRIFLE * (float(spans.sum()) or 1.0)
    for slot, group in enumerate(choices.groups, start=len(choices.layers)):
        own = range(choices.starts[slot], choices.starts[slot + 1])
        by_width = {int(choices.activation_bits[at]): found[at] for at in own}
        rises[list(own)] = list(settled(by_width, native[group], trifle).values())
    return rises


def _check_layers(scores: SensitivityTable, costs: CostTable) -> None:
    unscored = [layer for layer in costs.choices if layer not in scores.scores]
    if unscored:
        raise ArtifactError(
            f"the sensitivity table lacks layer {_some(unscored)}; it was made for another "
            "network or is incomplete: score this network"
        )
    uncosted = [layer for layer in scores.scores if layer not in costs.choices]
    if uncosted:
        raise DeviceError(
            f"the cost table of {costs.device} lacks layer {_some(uncosted)}; compute the costs "
            "of the network that was scored"
        )


def _listed(names: Iterable[tuple[str, int]]) -> str:
    return _some(list(dict.fromkeys(f"{name} at {bits} bits" for name, bits in names)))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
