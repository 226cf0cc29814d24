"""One network, one request, three devices: three plans, each for its device's own reasons.

At most 60 % of the bytes and 95 % of the energy of 8 bits, as ``docs/DEVICES.md`` shows it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile
from sigmaquant.layers import WIDTHS, LayerKind, LayerSpec, LayerTable, StepSpec, TensorSpec
from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.search import search

# name, channels in and out, kernel, size of the input: a small image classifier.
CONVOLUTIONS = (
    ("conv1", 3, 16, 3, 32),
    ("conv2", 16, 16, 3, 32),
    ("conv3", 16, 32, 3, 16),
    ("conv4", 32, 64, 3, 8),
    ("mix", 64, 64, 1, 8),
)


def small_network():
    layers = [
        LayerSpec(
            name=name,
            kind=LayerKind.CONV,
            weight_shape=(outputs, inputs, kernel, kernel),
            input_shape=(inputs, size, size),
            output_shape=(outputs, size, size),
            macs=outputs * size**2 * inputs * kernel**2,
            input_groups=("a",),
            output_group="a",
        )
        for name, inputs, outputs, kernel, size in CONVOLUTIONS
    ]
    layers.append(
        LayerSpec(
            name="fc",
            kind=LayerKind.LINEAR,
            weight_shape=(32, 1024),
            input_shape=(1024,),
            output_shape=(32,),
            macs=32 * 1024,
            input_groups=("a",),
            output_group=None,
        )
    )
    tensors = [TensorSpec(name="in", shape=(3, 32, 32), group="a")]
    tensors += [
        TensorSpec(name=f"{la.name}.out", shape=la.output_shape, group="a") for la in layers
    ]
    steps = [
        StepSpec(
            name=layer.name,
            operator=str(layer.kind),
            layer=layer.name,
            live=(before.name, after.name),
            output=after.name,
            quantized=True,
        )
        for layer, before, after in zip(layers, tensors, tensors[1:], strict=False)
    ]
    return LayerTable(
        network="Small", layers=tuple(layers), tensors=tuple(tensors), steps=tuple(steps)
    )


TABLE = small_network()


def made_scores():
    """Rounding noise falls fourfold with each bit; the first layers matter most for each weight."""
    return SensitivityTable(
        metric="loss",
        loss="kl",
        rounding="nearest",
        float_loss=0.0,
        samples=1,
        seed=0,
        inputs="made",
        scores={
            layer.name: {
                bits: Score(rise=layer.weights / (1 + depth) ** 2 * 4.0**-bits) for bits in WIDTHS
            }
            for depth, layer in enumerate(TABLE.layers)
        },
    )


def plan_for(name, flash=0.6, energy=0.95):
    costs = cost_table(TABLE, load_profile(name))
    full = costs.totals(BitPlan.uniform(TABLE, 8))
    budget = Budget(flash=int(flash * full["flash_bytes"]), energy=energy * full["energy_uj"])
    plan = search(made_scores(), costs, budget).plan
    return plan.weight_bits, costs.totals(plan), full


CONV_NAMES = tuple(name for name, *_ in CONVOLUTIONS)
PLANS = {name: plan_for(name) for name in ("cortex-m4", "qcs6490", "shift-add")}


def test_three_devices_get_three_plans_within_the_same_request():
    plans = [tuple(widths.values()) for widths, _, _ in PLANS.values()]
    assert len(set(plans)) == 3
    for _, totals, full in PLANS.values():
        assert totals["flash_bytes"] <= 0.6 * full["flash_bytes"]
        assert totals["energy_uj"] <= 0.95 * full["energy_uj"]


def test_the_page_shows_these_plans():
    page = Path(__file__).parents[2] / "docs" / "DEVICES.md"
    text = page.read_text(encoding="utf-8")
    assert f"| layer | {' | '.join(PLANS)} |" in text
    for layer in TABLE.layers:
        title = "mix (1 x 1)" if layer.name == "mix" else layer.name
        bits = " | ".join(str(widths[layer.name]) for widths, _, _ in PLANS.values())
        assert f"| {title} | {bits} |" in text


def test_the_microcontroller_gets_its_time_from_4_bits_and_its_bytes_from_any():
    # Energy is time here. Only 2 and 4 bits are faster than 8 everywhere; the others, unpacked
    # first, take as long where the scratch holds them.
    costs = cost_table(TABLE, load_profile("cortex-m4"))
    for name in CONV_NAMES:
        times = {bits: costs.choices[name][bits][8].latency_ms for bits in WIDTHS}
        assert max(times[2], times[4]) < 0.97 * times[8]
        assert (max(times.values()) < 1.06 * times[8]) == (name != "conv4")
    widths, _, _ = PLANS["cortex-m4"]
    assert {widths[name] for name in ("conv2", "conv3", "conv4")} == {4}
    # The linear layer is too small for its time to matter, and may have a slow width.
    assert widths["fc"] == 5


def test_the_tensor_processor_has_two_widths_and_gains_by_bytes_alone():
    widths, totals, full = PLANS["qcs6490"]
    assert set(widths.values()) == {4, 8}
    assert totals["latency_ms"] == pytest.approx(full["latency_ms"], rel=0.01)


def test_on_the_accelerator_every_bit_counts_so_all_widths_are_of_use():
    widths, _, _ = PLANS["shift-add"]
    assert len(set(widths.values())) >= 4
    assert set(widths.values()) - {2, 4, 8}
