"""What a solver is asked: scores, costs and limits of every choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.errors import ArtifactError, DeviceError
from sigmaquant.scores import SensitivityTable
from sigmaquant.search.choices import Choices, FloatArray, IntArray, same_activations
from sigmaquant.search.integer_program import Cap, budget_caps


@dataclass(frozen=True, eq=False)
class Problem:
    """Choose a width for each layer: least summed rise of the loss, within the budget.

    The scores are used as they are. A wider choice may score worse than a narrower one, and a rise
    may be negative: both are noise of the calibration data, and repairing them would hide it.

    Attributes:
        scores: rise of the loss by layer and width.
        costs: costs by layer and width.
        budget: hard limits.
        activation_bits: by precision group; fixed while weights are chosen.
        choices: the widths that can be chosen, as flat arrays.
        rises: (choices,) score of each choice, in the loss's unit.
        standard_errors: (choices,) of ``rises``.
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
        starts = self.choices.starts
        return {
            layer: tuple(self.choices.weight_bits[starts[at] : starts[at + 1]].tolist())
            for at, layer in enumerate(self.choices.layers)
        }

    def caps(self) -> tuple[Cap, ...]:
        """The limits on additive metrics."""
        return budget_caps(self.choices, self.budget.limits())

    def plan(self, chosen: IntArray, origin: str) -> BitPlan:
        """The plan of one choice for each layer."""
        return BitPlan(
            weight_bits=self.choices.bits(chosen),
            activation_bits=dict(self.activation_bits),
            origin=origin,
        )

    def objective(self, chosen: IntArray) -> float:
        """Summed rise of the loss."""
        return sum(self.rises[chosen].tolist(), 0.0)

    def standard_error(self, chosen: IntArray) -> float:
        """Standard error of the objective, layers taken as independent."""
        return float(np.sqrt(np.square(self.standard_errors[chosen]).sum()))

    def fits(self, plan: BitPlan) -> bool:
        """Whether a plan is within the budget."""
        totals = self.costs.totals(plan)
        return all(totals[metric] <= limit for metric, limit in self.budget.limits().items())


def problem(
    scores: SensitivityTable, costs: CostTable, budget: Budget, activation_bits: int = 8
) -> Problem:
    """Join the tables, after checking that they speak of the same network.

    Widths that were scored but that the device does not have are left out.

    Args:
        scores: must cover every width that the device can run.
        costs: of the same layers.
        budget: hard limits.
        activation_bits: the device's own width, given to all activations.

    Raises:
        ArtifactError: the scores lack layers or widths, or are not finite.
        DeviceError: the costs lack layers, or a layer cannot run at that activation width.
    """
    _check_layers(scores, costs)
    activations = same_activations(costs, activation_bits)
    choices = Choices.of(costs, activations)
    rises, standard_errors = _score_arrays(scores, costs, choices)
    return Problem(scores, costs, budget, activations, choices, rises, standard_errors)


def _score_arrays(
    scores: SensitivityTable, costs: CostTable, choices: Choices
) -> tuple[FloatArray, FloatArray]:
    """Rise and standard error of every choice, (choices,) each."""
    layers, bits = choices.layer.tolist(), choices.weight_bits.tolist()
    names = [(choices.layers[layer], width) for layer, width in zip(layers, bits, strict=True)]
    missing = [(layer, width) for layer, width in names if width not in scores.scores[layer]]
    if missing:
        raise ArtifactError(
            f"the sensitivity table has no score for {_listed(missing)}, which {costs.device} can "
            "run; score the network again at these widths"
        )
    found = [scores.scores[layer][width] for layer, width in names]
    rises = np.array([score.rise for score in found])
    standard_errors = np.array([score.standard_error for score in found])
    sound = np.isfinite(rises) & np.isfinite(standard_errors)
    broken = [name for name, good in zip(names, sound, strict=True) if not good]
    if broken:
        raise ArtifactError(
            f"the sensitivity table has no finite score for {_listed(broken)}; look for NaN or "
            "infinite values in the calibration data and the weights, and score again"
        )
    return rises, standard_errors


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
    return _some([f"{layer} at {bits} bits" for layer, bits in names])


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
