"""A device that gains by narrow activations: packed in RAM, moved by the byte, on one datapath."""

from __future__ import annotations

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile

WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)
SHIFT_ADD = load_profile("shift-add")
PACKED = SHIFT_ADD.model_copy(
    update={
        "supports": {
            kind: dict.fromkeys(widths, WIDTHS) for kind, widths in SHIFT_ADD.supports.items()
        },
        "activation_storage": SHIFT_ADD.activation_storage.model_copy(
            update={"bits": {bits: bits for bits in WIDTHS}}
        ),
    }
)


def totals(table, bits, profile=PACKED):
    return cost_table(table, profile).totals(BitPlan.uniform(table, 4, bits))


def test_every_bit_of_the_activations_costs_ram_and_energy(resnet8):
    for metric in ("peak_ram_bytes", "energy_uj"):
        costs = [totals(resnet8, bits)[metric] for bits in WIDTHS]
        assert costs == sorted(set(costs))


def test_half_the_bits_are_half_the_ram(resnet8):
    assert 2 * totals(resnet8, 4)["peak_ram_bytes"] == totals(resnet8, 8)["peak_ram_bytes"]
    assert totals(resnet8, 8)["peak_ram_bytes"] == 3 * 16 * 32 * 32


def test_each_tensor_is_padded_to_whole_bytes(resnet8):
    costs = cost_table(resnet8, PACKED)
    plan = BitPlan.uniform(resnet8, 4, 3)
    last = costs.ram_steps[-1]
    assert last.tensors == ("pooled", "fc.out")
    assert costs.tensor_bytes(plan, last) == (64 * 3 // 8, 40)  # the output stays float32
    assert costs.stored_bytes(3, 3) == 2


@pytest.mark.parametrize(
    ("profile", "widths", "choices"), [(PACKED, WIDTHS, WIDTHS), (SHIFT_ADD, (8,), ())]
)
def test_the_widths_of_a_group_are_those_of_the_device(resnet8, profile, widths, choices):
    costs = cost_table(resnet8, profile)
    assert costs.groups == ("a",)
    assert costs.activation_widths("a") == widths
    assert costs.activation_choices == choices
    assert costs.native_activation_bits == 8


@pytest.mark.parametrize(
    ("stored", "native"), [((4, 8, 16), 8), ((4,), 4), ((2, 4), 4), ((16,), 16)]
)
def test_the_native_width_is_8_bits_or_the_widest(resnet8, stored, native):
    costs = cost_table(resnet8, PACKED).model_copy(
        update={"activation_storage_bits": {bits: bits for bits in stored}}
    )
    assert costs.native_activation_bits == native
