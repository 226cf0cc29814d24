from __future__ import annotations

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.costs.ram import handled_elements, ram_steps
from sigmaquant.devices import load_profile
from sigmaquant.layers import LayerTable, StepSpec, TensorSpec

M4 = load_profile("cortex-m4")


def schedule(*steps, **sizes):
    """Steps as (live tensors, output), and the size of each tensor."""
    tensors = tuple(TensorSpec(name=n, shape=(size,), group="a") for n, size in sizes.items())
    return LayerTable(
        network="N",
        layers=(),
        tensors=tensors,
        steps=tuple(
            StepSpec(
                name=f"step{i}",
                operator="op",
                layer=None,
                live=tuple(live),
                output=output,
                quantized=True,
            )
            for i, (live, output) in enumerate(steps)
        ),
    )


def test_peak_ram_is_the_largest_step_and_the_reserve(resnet8):
    costs = cost_table(resnet8, M4)
    # The second convolution of the first block: input, output and the waiting skip connection.
    peak_bytes = 3 * 16 * 32 * 32 + M4.reserve.ram_bytes
    assert costs.peak_ram_bytes(BitPlan.uniform(resnet8, 4)) == peak_bytes


def test_ram_steps_follow_the_schedule_with_sizes_and_groups(resnet8):
    steps = ram_steps(resnet8)
    assert [step.name for step in steps] == [step.name for step in resnet8.steps]
    assert steps[0].elements == (3 * 32 * 32, 16 * 32 * 32)
    assert steps[-1].elements == (64, 10)
    assert steps[-1].groups == ("a", None)


def test_an_operator_handles_what_it_reads_or_writes():
    table = schedule(("ab", "b"), ("bc", "c"), a=5, b=7, c=3)
    assert handled_elements(table) == (7, 7)


def test_a_tensor_that_only_waits_is_not_handled():
    table = schedule(("sab", "b"), ("sbc", "c"), ("scd", "d"), s=100, a=1, b=2, c=3, d=4)
    assert handled_elements(table) == (2, 3, 100)


def test_an_operator_in_place_handles_its_tensor():
    table = schedule(("a", "a"), ("ab", "b"), a=5, b=2)
    assert handled_elements(table) == (5, 5)
