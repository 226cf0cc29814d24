from __future__ import annotations

import math

import pytest

from sigmaquant.budget import Budget
from sigmaquant.errors import ArtifactError, DeviceError
from sigmaquant.search.activations import same_activations
from sigmaquant.search.choices import Choices
from sigmaquant.search.problem import problem

COST = (10, 1.0, 1.0)


def test_only_widths_that_the_device_has_can_be_chosen(tables):
    scores = tables.scores({"a": dict.fromkeys(range(2, 9), 0.1), "b": {4: 0.1, 8: 0.0}})
    costs = tables.costs({"a": {8: COST, 4: COST}, "b": {8: COST}})
    assert problem(scores, costs, Budget()).weight_widths == {"a": (4, 8), "b": (8,)}


def test_scores_are_used_as_they_are(tables):
    asked = tables.problem({"a": {2: (-0.1, *COST), 4: (0.3, *COST), 8: (0.2, *COST)}})
    assert asked.rises.tolist() == [-0.1, 0.3, 0.2]


def test_a_layer_without_scores_is_named(tables):
    costs = tables.costs({"a": {8: COST}, "stem.conv": {8: COST}})
    with pytest.raises(ArtifactError, match=r"stem\.conv"):
        problem(tables.scores({"a": {8: 0.0}}), costs, Budget())


def test_a_layer_without_costs_is_named(tables):
    scores = tables.scores({"a": {8: 0.0}, "stem.conv": {8: 0.0}})
    with pytest.raises(DeviceError, match=r"toy lacks layer stem\.conv"):
        problem(scores, tables.costs({"a": {8: COST}}), Budget())


def test_a_width_without_score_is_named(tables):
    costs = tables.costs({"a": {8: COST, 3: COST}})
    with pytest.raises(ArtifactError, match="a at 3 bits"):
        problem(tables.scores({"a": {8: 0.0}}), costs, Budget())


def test_long_lists_are_cut_short(tables):
    costs = tables.costs({f"layer{i}": {8: COST} for i in range(9)})
    with pytest.raises(ArtifactError, match="layer0, layer1, layer2 and 6 more"):
        problem(tables.scores({}), costs, Budget())


@pytest.mark.parametrize("score", [math.nan, math.inf, (0.1, math.nan)])
def test_a_score_that_is_not_finite_is_named(tables, score):
    costs = tables.costs({"a": {4: COST, 8: COST}})
    with pytest.raises(ArtifactError, match="a at 4 bits"):
        problem(tables.scores({"a": {4: score, 8: 0.0}}), costs, Budget())


def test_an_activation_width_that_is_not_stored_is_refused(tables):
    with pytest.raises(DeviceError, match="activations of 4 bits; it stores 8"):
        same_activations(tables.costs({"a": {8: COST}}), 4)


def test_a_layer_that_cannot_run_with_the_activations_is_named(tables):
    costs = tables.costs({"a": {8: COST}}, activation_bits=16)
    with pytest.raises(DeviceError, match="layer a with 8-bit activations: only with 16"):
        problem(tables.scores({"a": {8: 0.0}}), costs, Budget())


def test_a_layer_without_any_width_is_named(tables):
    with pytest.raises(DeviceError, match="layer a with 8-bit activations: at no width"):
        problem(tables.scores({"a": {8: 0.0}}), tables.costs({"a": {}}), Budget())


def test_a_network_without_layers_is_refused(tables):
    with pytest.raises(DeviceError, match="no layers"):
        problem(tables.scores({}), tables.costs({}), Budget())


def test_a_layer_that_reads_two_groups_costs_what_the_wider_one_does(tables):
    costs = tables.costs({"a": {8: COST}}).model_copy(update={"input_groups": {"a": ("x", "y")}})
    choices = Choices.of(costs, {"x": (4,), "y": (8,), "a": (8,)})
    assert choices.costs["flash_bytes"].tolist() == [10]


def test_a_plan_and_its_choices_are_the_same_thing(tables, two_layers):
    asked = tables.problem(two_layers)
    for plan in tables.every_plan(asked):
        chosen = asked.choices.index(plan.weight_bits)
        assert asked.plan(chosen, "manual") == plan
        totals = asked.costs.totals(plan)
        assert all(asked.choices.total(m, chosen) == totals[m] for m in asked.choices.costs)


def test_the_standard_error_adds_up_as_independent(tables):
    scores = tables.scores({"a": {8: (0.0, 3.0)}, "b": {8: (0.0, 4.0)}})
    asked = problem(scores, tables.costs({"a": {8: COST}, "b": {8: COST}}), Budget())
    assert asked.standard_error(asked.choices.index({"a": 8, "b": 8})) == 5.0
