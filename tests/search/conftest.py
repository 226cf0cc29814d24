from __future__ import annotations

import itertools

import pytest
from hypothesis import strategies as st

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
        weight_sigmas={name: 0.1 * (at + 1) for at, name in enumerate(layers)},
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


def by_score(asked):
    """A measure that agrees with the scores."""
    return lambda plan: summed_rise(asked, plan)


# Multiples of a power of two, so that sums are exact and plans tie often.
SIXTEENTHS = st.integers(1, 200).map(lambda n: n / 16)
RISES = st.integers(-16, 100).map(lambda n: n / 64)
CHOICE = st.tuples(RISES, st.integers(1, 99), SIXTEENTHS, SIXTEENTHS)
LAYER = st.dictionaries(st.sampled_from((2, 3, 4, 6, 8)), CHOICE, min_size=1, max_size=4)
LAYERS = st.dictionaries(st.sampled_from("abcd"), LAYER, min_size=1)


@st.composite
def problems(draw, tables):
    """A problem whose every limit lies at, just below or just above the cost of some plan."""
    layers = draw(LAYERS)
    asked = tables.problem(layers)
    plans = list(tables.every_plan(asked))
    limits = {}
    steps = (("flash", "flash_bytes", 1), ("ram", "peak_ram_bytes", 1))
    for name, metric, step in (
        *steps,
        ("latency", "latency_ms", 1 / 16),
        ("energy", "energy_uj", 1 / 16),
    ):
        if draw(st.booleans()):
            plan = draw(st.sampled_from(plans))
            limit = asked.costs.totals(plan)[metric] + step * draw(st.sampled_from((-1, 0, 0, 1)))
            limits[name] = max(limit, step)
    return tables.problem(layers, Budget(**limits))


class Tables:
    """The builders above, as one fixture."""

    costs = staticmethod(make_costs)
    scores = staticmethod(make_scores)
    problem = staticmethod(make_problem)
    every_plan = staticmethod(every_plan)
    summed_rise = staticmethod(summed_rise)
    brute_force = staticmethod(brute_force)
    by_score = staticmethod(by_score)
    layers = LAYERS


@pytest.fixture(scope="session")
def tables():
    return Tables


@pytest.fixture(scope="session")
def small_problems():
    return problems(Tables)


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
