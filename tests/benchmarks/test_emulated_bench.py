"""The emulation benchmark: what its tables say, and which memory is compared."""

from __future__ import annotations

import pytest
import torch

from benchmarks import emulated
from benchmarks.emulated_table import emulated_lines, layer_errors
from benchmarks.networks import NETWORKS
from benchmarks.results import BenchResult, BenchRow
from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.devices import load_profile
from sigmaquant.network import capture

ROW = BenchRow(
    network="dscnn",
    variant="int8 on cortex-m4",
    metric="cycles",
    value=1000,
    float_value=None,
    seconds={},
    samples=32,
    weight_bits_mean=8.0,
    flash_bytes=10_000,
    file_bytes=20_300,
    ram_bytes=500,
    predicted_ram_bytes=500,
    largest_difference=0.0,
    layer_cycles={"conv": 800, "fc": 100},
    predicted_layer_cycles={"conv": 840.0, "fc": 90.0},
)


def test_errors_are_those_of_the_cost_table() -> None:
    assert layer_errors(ROW) == pytest.approx({"conv": 5.0, "fc": -10.0})


def test_a_line_for_each_library_in_both_tables() -> None:
    result = BenchResult.begin("emulated", emulated.COMMAND, seed=0).with_row(ROW)
    lines = emulated_lines(result)
    libraries = "| 8.00 | 32 | equal | 10,000 | 20,300 | 10,000 | 500 | 500 | 1,000 |"
    assert f"| dscnn | int8 on cortex-m4 {libraries}" in lines
    layers = "| 2 | 7.5 % | -10.0 % | fc | +3.3 % | 90 % |"
    assert f"| dscnn | int8 on cortex-m4 {layers}" in lines


def test_float_results_are_no_part_of_the_arena() -> None:
    """The autoencoder's 640 results are float32; its inputs take a byte each."""
    network = NETWORKS["autoencoder"]
    table = capture(network.build().eval(), torch.zeros(2, *network.input_shape)).table
    costs = cost_table(table, load_profile(emulated.PLANNED_FOR))
    assert emulated.arena_bytes(costs, BitPlan.uniform(table, 8)) == 640 + 128


def test_every_network_has_inputs_of_its_own() -> None:
    assert set(emulated.INPUTS) <= set(NETWORKS)
    assert set(emulated.PLANS.values()) == {8.0, 4.0, 3.0}
