from __future__ import annotations

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.costs.calibrate import MeasuredRun, calibrate
from sigmaquant.costs.parts import cost_parts
from sigmaquant.devices import load_profile
from sigmaquant.errors import DataError, DeviceError
from sigmaquant.layers import LayerKind

M4 = load_profile("cortex-m4")


def run(table, factor, bits=8, layer=None, energy=None):
    """A measurement that is the profile's prediction times a factor."""
    plan = BitPlan.uniform(table, bits)
    parts = cost_parts(table, M4, plan, layer).values()
    return MeasuredRun(
        name=table.network,
        table=table,
        plan=plan,
        latency_ms=factor * sum(part.latency_ms for part in parts),
        layer=layer,
        energy_uj=None if energy is None else energy * sum(part.energy_uj for part in parts),
    )


def test_the_parts_of_a_plan_are_its_whole(resnet8):
    plan = BitPlan.uniform(resnet8, 4)
    parts = cost_parts(resnet8, M4, plan)
    assert set(parts) == {"conv", "linear", "other"}
    totals = cost_table(resnet8, M4).totals(plan)
    for metric in ("flash_bytes", "latency_ms", "energy_uj"):
        summed = sum(getattr(part, metric) for part in parts.values())
        assert summed == pytest.approx(totals[metric])


def test_one_network_gives_one_factor_and_no_error(resnet8):
    fit = calibrate(M4, [run(resnet8, 1.5)], "a board")
    found = fit.calibration
    assert [*found.latency_scale.values(), found.other_latency_scale] == pytest.approx([1.5] * 4)
    assert (found.energy_scale, found.left_out_percent, found.measurements) == (1.0, None, 1)
    assert fit.before == pytest.approx((1 / 1.5 - 1,))
    assert fit.after == pytest.approx((0.0,), abs=1e-6)
    assert "measure a second network" in fit.advice[0]


def test_two_networks_let_the_kinds_part(resnet8, autoencoder):
    fit = calibrate(M4, [run(resnet8, 1.0), run(autoencoder, 1.4)], "a board")
    scales = fit.calibration.latency_scale
    assert 1.0 < scales[LayerKind.CONV] < scales[LayerKind.LINEAR] < 1.4
    assert fit.left_out == pytest.approx((0.4, 1 / 1.4 - 1))
    assert fit.calibration.left_out_percent == pytest.approx(100 * (0.4 + 1 - 1 / 1.4) / 2)
    assert fit.advice[0].startswith("measure a network or layers that are mostly depthwise_conv")
    assert "measure ResNet8 layer by layer" in fit.advice[1]


def test_the_calibrated_profile_predicts_what_was_measured(resnet8):
    runs = [run(resnet8, 0.7, energy=2.0), run(resnet8, 0.7, bits=4, energy=2.0)]
    fit = calibrate(M4, runs, "a board")
    fitted = M4.model_copy(update={"calibration": fit.calibration})
    totals = cost_table(resnet8, fitted).totals(runs[0].plan)
    assert totals["latency_ms"] == pytest.approx(runs[0].latency_ms)
    assert totals["energy_uj"] == pytest.approx(runs[0].energy_uj)


def test_layers_can_be_measured_alone(resnet8):
    fit = calibrate(M4, [run(resnet8, 2.0, layer=layer) for layer in ("conv1", "fc")], "a board")
    assert fit.calibration.latency_scale[LayerKind.CONV] == pytest.approx(2.0)
    assert fit.after == pytest.approx((0.0, 0.0), abs=1e-6)


def test_nothing_more_is_asked_where_all_kinds_are_covered(resnet8, autoencoder):
    supports = {k: v for k, v in M4.supports.items() if k != LayerKind.DEPTHWISE_CONV}
    profile = M4.model_copy(update={"supports": supports})
    fit = calibrate(profile, [run(resnet8, 1.1), run(autoencoder, 1.0)], "a board")
    assert fit.advice == ("nothing: all kinds are covered and left-out rows are predicted well",)


def test_a_fitted_profile_is_not_fitted_again(resnet8):
    fit = calibrate(M4, [run(resnet8, 1.5)], "a board")
    fitted = M4.model_copy(update={"calibration": fit.calibration})
    with pytest.raises(DeviceError, match="cortex-m4 is fitted already"):
        calibrate(fitted, [run(resnet8, 1.5)], "a board")


def test_a_layer_that_is_not_there_is_refused(resnet8):
    with pytest.raises(DataError, match="ResNet8 has no layer 'conv9'"):
        cost_parts(resnet8, M4, BitPlan.uniform(resnet8, 8), "conv9")


def test_a_plan_that_the_device_cannot_run_is_refused(resnet8):
    with pytest.raises(DeviceError, match="qcs6490 cannot run 'conv1' as the plan says"):
        cost_parts(resnet8, load_profile("qcs6490"), BitPlan.uniform(resnet8, 3))
