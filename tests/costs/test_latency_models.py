"""The alternatives of the latency models by hand: unpacking first, narrow inputs, rooflines."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.devices import Evidence, load_profile
from sigmaquant.devices.latency_models import StartCycles
from sigmaquant.devices.profile import Calibration
from sigmaquant.layers import WIDTHS, LayerKind, StepSpec

M4 = load_profile(Path(__file__).parents[2] / "benchmarks/data/prototype_cortex_m4.toml")
QCS = load_profile("qcs6490")
MPIC = load_profile("mpic")
ETHOS = load_profile("ethos-u55-128")


def only(table, profile, weight_bits, activation_bits=8):
    return cost_table(table, profile).choices["only"][weight_bits][activation_bits]


def with_scratch(size):
    reserve = M4.reserve.model_copy(update={"weight_scratch_bytes": size})
    return M4.model_copy(update={"reserve": reserve})


# Unpacking first: 432 weights, in rows of 27 that are padded to 28, and 16 x 32 x 32 outputs with
# dot products padded to 32.


def test_unpacking_first_is_taken_where_it_is_faster_and_fits(one_layer):
    table = one_layer("conv")
    shared = 1024 * 27 * 4.4 + 16384 * 26 + 1290
    as_8_bits = (16384 * 32 * 1.59 + shared + 432 * 4.0 + 378 * 0.33) / 120_000
    assert only(table, with_scratch(448), 7).latency_ms == pytest.approx(as_8_bits)
    assert only(table, with_scratch(447), 7) == only(table, M4, 7)
    assert only(table, with_scratch(448), 7).latency_ms < only(table, M4, 7).latency_ms


def test_the_packed_kernel_stays_where_it_is_faster(one_layer):
    for bits in (2, 4, 8):
        assert only(one_layer("conv"), with_scratch(448), bits) == only(one_layer("conv"), M4, bits)


def test_with_scratch_no_width_of_a_convolution_is_much_slower_than_8_bits(one_layer):
    times = [only(one_layer("conv"), with_scratch(4096), bits).latency_ms for bits in WIDTHS]
    assert max(times) < 1.01 * times[-1]


# Kernels with loops of their own for the rest of a dot product, and for rows of the window


def with_kernel(kind, **figures):
    kernel = M4.latency.kernels[kind].model_copy(update=figures)
    kernels = {**M4.latency.kernels, kind: kernel}
    return M4.model_copy(update={"latency": M4.latency.model_copy(update={"kernels": kernels})})


def test_macs_behind_the_last_whole_block_have_a_figure_of_their_own(one_layer):
    """Dot products of 27: 16 in whole blocks and 11 behind them."""
    table = one_layer("conv")
    whole = with_kernel("conv", dot_product_block=16)
    tails = with_kernel("conv", dot_product_block=16, cycles_per_tail_mac=dict.fromkeys(WIDTHS, 5))
    for bits in (2, 8):
        a = M4.latency.kernels["conv"].cycles_per_mac[bits]
        added = 16384 * (16 * a + 11 * 5 - 32 * a) / 120_000
        plain = only(table, whole, bits).latency_ms
        assert only(table, tails, bits).latency_ms == pytest.approx(plain + added)


def test_words_behind_the_last_whole_block_are_computed_whole(one_layer):
    """11 MACs behind the block take three words of 4 at 8 bits, one word of 16 at 2."""
    table = one_layer("conv")
    figures = {"dot_product_block": 16, "cycles_per_tail_mac": dict.fromkeys(WIDTHS, 5)}
    parts = only_times(table, with_kernel("conv", **figures))
    blocks = {**dict.fromkeys(WIDTHS, 4), 2: 16}
    whole = only_times(table, with_kernel("conv", tail_block=blocks, **figures))
    assert whole[8] - parts[8] == pytest.approx(16384 * (12 - 11) * 5 / 120_000)
    assert whole[2] - parts[2] == pytest.approx(16384 * (16 - 11) * 5 / 120_000)


def only_times(table, profile):
    return {bits: only(table, profile, bits).latency_ms for bits in WIDTHS}


def test_a_part_of_the_places_that_are_computed_at_once_takes_as_long(one_layer):
    """1,024 places are 342 threes; a single place has a kernel of its own."""
    table = one_layer("conv")
    added = only(table, with_kernel("conv", places_at_once=3), 8).latency_ms
    added -= only(table, M4, 8).latency_ms
    assert added == pytest.approx(2 * 16 * 32 * 1.59 / 120_000)
    single = one_layer("conv", output_shape=(16, 1, 1), macs=16 * 27)
    assert only(single, with_kernel("conv", places_at_once=3), 8) == only(single, M4, 8)


def test_a_last_filter_without_another_has_a_figure_of_its_own(one_layer):
    odd = one_layer("linear", weight_shape=(9, 64), output_shape=(9,), macs=9 * 64)
    for table, rows in ((odd, 1), (one_layer("linear"), 0)):
        paired = only(table, with_kernel("linear", cycles_per_odd_row_mac={8: 7}), 8).latency_ms
        added = rows * 64 * (7 - 2.03) / 120_000
        assert paired - only(table, M4, 8).latency_ms == pytest.approx(added, abs=1e-12)


@pytest.mark.parametrize(("size", "macs"), [(3, 0), (5, 25)])
def test_other_windows_than_3_x_3_can_have_a_figure_of_their_own(one_layer, size, macs):
    shape = (32, 1, size, size)
    table = one_layer("depthwise_conv", weight_shape=shape, macs=32 * 256 * size**2)
    slow = with_kernel("depthwise_conv", cycles_per_other_window_mac=10)
    added = only(table, slow, 8).latency_ms - only(table, M4, 8).latency_ms
    assert added == pytest.approx(32 * 256 * macs * (10 - 8.7) / 120_000, abs=1e-12)


@pytest.mark.parametrize(("kernel", "rows"), [(3, 1024 * 3), (4, 0)])
def test_rows_of_the_window_that_are_no_whole_fours_cost_more(one_layer, kernel, rows):
    """Three channels: nine values side by side, or twelve."""
    shape = (16, 3, kernel, kernel)
    table = one_layer("conv", weight_shape=shape, macs=16384 * 3 * kernel**2)
    slow = with_kernel("conv", cycles_per_unaligned_row=100)
    added = only(table, slow, 8).latency_ms - only(table, M4, 8).latency_ms
    assert added == pytest.approx(rows * 100 / 120_000, abs=1e-12)


@pytest.mark.parametrize(
    ("layer", "rows"), [("conv", 1024 * 3), ("depthwise_conv", 256 * 3), ("linear", 1)]
)
def test_each_row_of_the_window_costs(one_layer, layer, rows):
    table = one_layer(layer)
    with_rows = with_kernel(layer, cycles_per_patch_row=100)
    added = only(table, with_rows, 8).latency_ms - only(table, M4, 8).latency_ms
    assert added == pytest.approx(rows * 100 / 120_000)


def test_outputs_that_stay_float_can_have_a_figure_of_their_own(one_layer):
    floats, integers = one_layer("linear"), one_layer("conv")
    for table, kind, outputs in ((floats, "linear", 10), (integers, "conv", 0)):
        cheaper = with_kernel(kind, cycles_per_float_output=5)
        per_output = M4.latency.kernels[kind].cycles_per_output
        saved = only(table, M4, 8).latency_ms - only(table, cheaper, 8).latency_ms
        assert saved == pytest.approx(outputs * (per_output - 5) / 120_000)


def test_operators_can_have_figures_of_their_own(resnet8):
    others = M4.latency.other_operators.model_copy(update={"by_operator": {"add": 0.0}})
    latency = M4.latency.model_copy(update={"other_operators": others})
    cheaper = cost_table(resnet8, M4.model_copy(update={"latency": latency})).fixed.latency_ms
    summed = 16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8
    assert cost_table(resnet8, M4).fixed.latency_ms - cheaper == pytest.approx(
        summed * 26 / 120_000
    )


# Narrow inputs


def test_narrow_inputs_have_figures_of_their_own(one_layer):
    table, macs = one_layer("conv"), 442_368
    for bits, inputs, cycles in ((4, 8, 0.435), (4, 4, 0.286), (2, 2, 0.154)):
        choice = only(table, MPIC, bits, inputs)
        assert choice.latency_ms == pytest.approx(macs * cycles / 250_000)
        assert choice.energy_uj == pytest.approx(5.38 * choice.latency_ms)
    assert set(cost_table(table, MPIC).choices["only"][8]) == {8}


# Roofline


def test_arithmetic_bounds_a_convolution_and_data_a_linear_layer(one_layer):
    conv = only(one_layer("conv"), ETHOS, 8)
    assert conv.latency_ms == pytest.approx(442_368 / 45.2e6)
    linear = only(one_layer("linear"), ETHOS, 4)
    assert linear.latency_ms == pytest.approx(328 / 0.47e6 + 74 / 3.73e6)
    assert linear.latency_ms < only(one_layer("linear"), ETHOS, 8).latency_ms


def test_4_bits_take_the_arithmetic_of_8_and_half_the_bytes(one_layer):
    for kind in ("conv", "linear"):
        four, eight = (only(one_layer(kind), QCS, bits) for bits in (4, 8))
        assert four.latency_ms <= eight.latency_ms
        assert four.flash_bytes < eight.flash_bytes
    linear = [only(one_layer("linear"), QCS, bits).latency_ms for bits in (4, 8)]
    assert linear == pytest.approx([(320 + 74) / 19e6, (640 + 74) / 19e6])


def test_a_network_pays_the_overhead_once(resnet8):
    fixed = cost_table(resnet8, QCS).fixed
    other_bytes = 2 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8 + 64 * 8 * 8)
    assert fixed.latency_ms == pytest.approx(0.69 + other_bytes / 19e6)


def test_a_layer_pays_its_overhead_at_each_use(one_layer):
    overhead = QCS.latency.overhead.model_copy(update={"layer_us": 5.0})
    latency = QCS.latency.model_copy(update={"overhead": overhead})
    slow = QCS.model_copy(update={"latency": latency})
    once = one_layer("conv")
    twice = one_layer("conv", macs=2 * once.layers[0].macs)
    for table, uses in ((once, 1), (twice, 2)):
        difference = only(table, slow, 8).latency_ms - only(table, QCS, 8).latency_ms
        assert difference == pytest.approx(uses * 0.005)


def test_operators_without_weights_move_their_values_at_their_own_bandwidth(one_layer):
    table = one_layer("conv")
    add = StepSpec(
        name="relu",
        operator="relu",
        layer=None,
        live=("out",),
        output="out",
        quantized=True,
    )
    table = table.model_copy(update={"steps": (*table.steps, add)})
    assert cost_table(table, ETHOS).fixed.latency_ms == pytest.approx(2 * 16384 / 0.67e6)


def test_marks_of_a_roofline_are_those_of_its_weakest_figure(one_layer):
    marks = cost_table(one_layer("conv"), QCS).marks
    assert marks["latency_ms"] == "estimated"  # of 4 bits
    eight_only = QCS.model_copy(update={"supports": {LayerKind.CONV: {8: (8,)}}})
    assert cost_table(one_layer("conv"), eight_only).marks["latency_ms"] == "derived"
    assert cost_table(one_layer("conv"), ETHOS).marks["latency_ms"] == "estimated"


# Calibration


def test_a_calibration_scales_times_by_kind_and_energies_alike(resnet8):
    calibration = Calibration(
        source="board",
        kind=Evidence.DERIVED,
        latency_scale={LayerKind.CONV: 2.0, LayerKind.LINEAR: 3.0},
        other_latency_scale=4.0,
        energy_scale=5.0,
        measurements=2,
    )
    for profile in (M4, QCS):
        plain = cost_table(resnet8, profile)
        fitted = cost_table(resnet8, profile.model_copy(update={"calibration": calibration}))
        for layer, factor in (("conv1", 2), ("fc", 3)):
            before, after = (costs.choices[layer][8][8] for costs in (plain, fitted))
            assert after.latency_ms == pytest.approx(factor * before.latency_ms)
            assert after.flash_bytes == before.flash_bytes
        assert fitted.fixed.latency_ms == pytest.approx(4 * plain.fixed.latency_ms)
    energy = cost_table(resnet8, M4.model_copy(update={"calibration": calibration}))
    plan = BitPlan.uniform(resnet8, 8)
    totals = energy.totals(plan)
    assert totals["energy_uj"] == pytest.approx(5 * 41.7 * totals["latency_ms"])


def test_an_operator_without_weights_has_a_cost_of_its_call(resnet8):
    others = M4.latency.other_operators.model_copy(update={"cycles_per_call": 1200.0})
    latency = M4.latency.model_copy(update={"other_operators": others})
    dearer = cost_table(resnet8, M4.model_copy(update={"latency": latency})).fixed.latency_ms
    calls = sum(step.layer is None for step in resnet8.steps)
    assert dearer - cost_table(resnet8, M4).fixed.latency_ms == pytest.approx(calls * 0.01)


def test_a_sample_has_a_cost_of_its_own(one_layer):
    start = StartCycles(source="s", kind=Evidence.ESTIMATED, cycles_per_sample=1200)
    profile = M4.model_copy(update={"latency": M4.latency.model_copy(update={"start": start})})
    costs = cost_table(one_layer("conv"), profile)
    assert costs.fixed.latency_ms == pytest.approx(0.01)
    assert costs.fixed.energy_uj == pytest.approx(41.7 * 0.01)
    assert costs.marks["latency_ms"] == "estimated"
