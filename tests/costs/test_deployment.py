"""Widths and costs where a runtime stores and runs the weights."""

from __future__ import annotations

import math

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile
from sigmaquant.errors import ConfigError
from sigmaquant.layers import WIDTHS
from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.search import search

ALL = tuple(WIDTHS)


def costs_on(table, runtime, device="cortex-m4"):
    return cost_table(table, load_profile(device, runtime))


@pytest.mark.parametrize(
    ("runtime", "conv", "linear", "depthwise"),
    [
        ("c", ALL, ALL, ALL),
        ("onnxruntime", ALL, ALL, ALL),
        ("onnxruntime-coded", ALL, ALL, ALL),
        ("litert-small", (4, 8), (2, 4, 8), (4, 8)),
        ("litert-fast", (8,), (4, 8), (8,)),
        ("tflm", (4, 8), (2, 3, 4, 8), (4, 8)),
        ("qnn", (4, 8), (4, 8), (4, 8)),
    ],
)
def test_only_widths_that_the_file_rewards_are_offered(one_layer, runtime, conv, linear, depthwise):
    for kind, expected in (("conv", conv), ("linear", linear), ("depthwise_conv", depthwise)):
        offered = costs_on(one_layer(kind), runtime).weight_widths("only")
        assert offered == expected, kind


def test_a_convolution_of_1_x_1_is_a_matrix_where_the_runtime_makes_one_of_it(one_layer):
    pointwise = one_layer("conv", weight_shape=(16, 8, 1, 1), input_shape=(8, 32, 32))
    strided = one_layer("conv", weight_shape=(16, 8, 1, 1), input_shape=(8, 64, 64))
    assert pointwise.layer("only").is_pointwise
    assert not strided.layer("only").is_pointwise
    assert costs_on(pointwise, "litert-small").weight_widths("only") == (2, 4, 8)
    assert costs_on(strided, "litert-small").weight_widths("only") == (4, 8)
    assert costs_on(pointwise, "tflm").weight_widths("only") == (4, 8)


def test_flash_is_containers_channels_and_the_rest_of_the_file(one_layer):
    table = one_layer("conv")  # 16 x 3 x 3 x 3
    plan = BitPlan.uniform(table, 4)
    expected = 432 // 2 + 16 * 12 + (900 + 290 + 16 * 8)
    assert costs_on(table, "litert-small").totals(plan)["flash_bytes"] == expected


def scores_of(rounding: str, entropy_bits: dict[str, dict[int, float]]) -> SensitivityTable:
    return SensitivityTable(
        metric="taylor",
        loss="divergence",
        rounding=rounding,
        float_loss=0.0,
        samples=1,
        seed=0,
        inputs="",
        scores={"only": {bits: Score(rise=1 / bits) for bits in WIDTHS}},
        entropy_bits=entropy_bits,
    )


def test_code_is_counted_by_the_layers_own_entropy(one_layer):
    table, profile = one_layer("conv"), load_profile("cortex-m4", "onnxruntime-coded")
    scores = scores_of("coded", {"only": {4: 2.0}})
    typical, own = cost_table(table, profile), cost_table(table, profile, scores)
    for bits, expected in ((4, 1.02 * 2.0), (5, 3.65)):
        flash = own.choices["only"][bits][8].flash_bytes
        assert flash == math.ceil(432 * expected / 8) + 16 * 4
    assert typical.choices["only"][5] == own.choices["only"][5]
    plain = load_profile("cortex-m4", "onnxruntime")
    assert cost_table(table, plain, scores) == cost_table(table, plain)


def test_scores_in_another_rounding_than_the_codes_are_refused(one_layer):
    table, profile = one_layer("conv"), load_profile("cortex-m4", "onnxruntime-coded")
    with pytest.raises(ConfigError, match=r"scored in 'nearest': .* with --rounding coded"):
        cost_table(table, profile, scores_of("nearest", {"only": {4: 2.0}}))
    without_data = scores_of("nearest", {})  # as the metric "sigma" has them
    assert cost_table(table, profile, without_data) == cost_table(table, profile)


def test_times_are_those_of_int8_times_the_runtimes_factor(one_layer):
    table = one_layer("linear")
    own = cost_table(table, load_profile("cortex-m4"))
    int8 = own.choices["only"][8][8].latency_ms
    offered = costs_on(table, "litert-small").choices["only"]
    assert offered[2][8].latency_ms == pytest.approx(3.85 * int8)
    assert offered[4][8].latency_ms == pytest.approx(1.15 * int8)
    assert offered[4][8].energy_uj == pytest.approx(offered[4][8].latency_ms * 41.7)
    packed = costs_on(table, "c").choices["only"]
    assert packed[4][8].latency_ms == own.choices["only"][4][8].latency_ms


def test_activations_have_the_widths_that_the_runtime_runs(one_layer):
    table = one_layer("conv")
    assert costs_on(table, "tflm", "mpic").activation_storage_bits == {8: 8}
    assert set(costs_on(table, "c", "mpic").activation_storage_bits) == {2, 4, 8}
    assert costs_on(table, "tflm", "mpic").activation_choices == ()


def test_marks_are_the_weakest_of_device_and_runtime(one_layer):
    table = one_layer("conv")
    assert costs_on(table, "litert-small").marks["latency_ms"] == "estimated"
    assert costs_on(table, "c").marks == cost_table(table, load_profile("cortex-m4")).marks


def test_weights_of_a_table_take_ram_while_their_layer_runs(autoencoder):
    costs = costs_on(autoencoder, "tflm")
    least = BitPlan.uniform(autoencoder, 8)
    narrow = least.with_weight_bits({"fc1": 2})
    assert costs.expanded_bytes["fc1"][2] == 128 * 128
    assert costs.peak_ram_bytes(least) == costs.ram_reserve_bytes + 640 + 128
    assert costs.peak_ram_bytes(narrow) == costs.ram_reserve_bytes + 128 + 128 + 128 * 128


@pytest.mark.parametrize("strategy", ["exact", "greedy"])
def test_a_ram_budget_decides_which_layers_may_be_expanded(autoencoder, strategy):
    """Layers of 81,920 weights stay int8 where only those of 16,384 can be expanded."""
    rises = {bits: Score(rise=1 / bits, standard_error=0) for bits in WIDTHS}
    scores = SensitivityTable(
        metric="sigma",
        loss="none",
        rounding="nearest",
        float_loss=0.0,
        samples=0,
        seed=0,
        inputs="",
        scores={layer.name: rises for layer in autoencoder.layers},
    )
    costs = costs_on(autoencoder, "tflm")
    flash = int(costs.totals(BitPlan.uniform(autoencoder, 8))["flash_bytes"] * 0.8)
    budget = Budget(flash=flash, ram=costs.ram_reserve_bytes + 20_000)
    plan = search(scores, costs, budget, strategy=strategy).plan
    assert plan.weight_bits["fc0"] == plan.weight_bits["fc9"] == 8
    assert costs.totals(plan)["flash_bytes"] <= flash
    assert costs.peak_ram_bytes(plan) <= costs.ram_reserve_bytes + 20_000
