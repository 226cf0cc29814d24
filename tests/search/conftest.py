from __future__ import annotations

import itertools

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.costs.table import ChoiceCost, CostTable, RamStep
from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.search.problem import problem


def choice_cost(values):
    flash, latency, energy = values
    return ChoiceCost(flash_bytes=flash, latency_ms=latency, energy_uj=energy)


def make_costs(layers, *, fixed=(0, 0.0, 0.0), ram=(("conv", 100),), reserve=0, activation_bits=8):
    """A cost table from {layer: {bits: (flash, latency, energy)}} and the steps' bytes."""
    return CostTable(
        device="toy",
        choices={
            name: {bits: {activation_bits: choice_cost(cost)} for bits, cost in widths.items()}
            for name, widths in layers.items()
        },
        fixed=choice_cost(fixed),
        ram_steps=tuple(RamStep(name=name, elements=(size,), groups=("a",)) for name, size in ram),
        ram_reserve_bytes=reserve,
        activation_storage_bits={8: 8},
        input_groups=dict.fromkeys(layers, ("a",)),
        marks={},
    )


def make_scores(layers):
    """A sensitivity table from {layer: {bits: rise or (rise, standard error)}}."""

    def score(value):
        rise, error = value if isinstance(value, tuple) else (value, 0.0)
        return Score(rise=rise, standard_error=error)

    return SensitivityTable(
        metric="loss",
        loss="kl",
        rounding="nearest",
        float_loss=0.0,
        samples=1,
        seed=0,
        inputs="",
        scores={name: {b: score(v) for b, v in widths.items()} for name, widths in layers.items()},
    )


def make_problem(layers, budget=None, **costs):
    """A problem from {layer: {bits: (rise, flash, latency, energy)}}."""
    scores = {name: {b: v[0] for b, v in widths.items()} for name, widths in layers.items()}
    table = {name: {b: v[1:] for b, v in widths.items()} for name, widths in layers.items()}
    return problem(make_scores(scores), make_costs(table, **costs), budget or Budget())


def every_plan(asked):
    """All plans of a problem, feasible or not."""
    widths = asked.weight_widths
    for bits in itertools.product(*widths.values()):
        yield BitPlan(
            weight_bits=dict(zip(widths, bits, strict=True)),
            activation_bits=dict(asked.activation_bits),
        )


def summed_rise(asked, plan):
    return sum(asked.scores.rise(layer, bits) for layer, bits in plan.weight_bits.items())


def brute_force(asked):
    """The least summed rise of the plans within the budget; None where there is none."""
    return min((summed_rise(asked, p) for p in every_plan(asked) if asked.fits(p)), default=None)


class Tables:
    """The builders above, as one fixture."""

    costs = staticmethod(make_costs)
    scores = staticmethod(make_scores)
    problem = staticmethod(make_problem)
    every_plan = staticmethod(every_plan)
    summed_rise = staticmethod(summed_rise)
    brute_force = staticmethod(brute_force)


@pytest.fixture(scope="session")
def tables():
    return Tables


@pytest.fixture(scope="session")
def two_layers():
    """Bits 2, 4, 8; flash is linear in bits; "fragile" gains more for less."""
    return {
        "fragile": {
            2: (1.0, 20, 1.0, 2.0),
            4: (0.2, 40, 1.0, 4.0),
            8: (0.0, 80, 1.0, 8.0),
        },
        "robust": {
            2: (0.4, 200, 1.0, 2.0),
            4: (0.1, 400, 1.0, 4.0),
            8: (0.0, 800, 1.0, 8.0),
        },
    }
