"""The shipped figures against the published and measured ones they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigmaquant.devices import Evidence, available_profiles, load_profile, width_digests
from sigmaquant.devices.profile import Calibration
from sigmaquant.devices.storage import Container, WeightStorage
from sigmaquant.layers import WIDTHS, LayerKind


def conv_cells(name):
    rows = width_digests(load_profile(name))
    return {row.weight_bits: row.kernels[LayerKind.CONV] for row in rows}


DENSE = ("cortex-m4", "cortex-m7", "raspberry-pi-4", "shift-add", "stm32u385", "stm32u575")


@pytest.mark.parametrize("name", DENSE)
def test_every_width_has_a_row_with_dense_storage_and_all_kinds(name):
    rows = width_digests(load_profile(name))
    assert load_profile(name).weight_storage.container is Container.DENSE
    assert [row.weight_bits for row in rows] == list(WIDTHS)
    assert [row.stored_bits.value for row in rows] == list(WIDTHS)
    assert all(set(row.kernels) == set(LayerKind) for row in rows)


@pytest.mark.parametrize("name", available_profiles())
def test_no_shipped_figure_below_8_bits_claims_to_be_measured_on_a_chip_but_one(name):
    marks = {
        cells.ns_per_mac.kind
        for row in width_digests(load_profile(name))
        for cells in row.kernels.values()
        if row.weight_bits < 8
    }
    assert (Evidence.MEASURED in marks) == (name == "mpic")


@pytest.mark.parametrize(
    ("bits", "compressed", "container"),
    [
        ({2: 2, 3: 3, 8: 8}, False, "dense"),
        ({2: 2, 3: 4, 5: 8, 8: 8}, False, "power of two"),
        ({2: 8, 3: 8, 8: 8}, False, "int8"),
        ({2: 2.2, 8: 8.1}, True, "entropy"),
        ({2: 3, 8: 9}, False, "other"),
    ],
)
def test_the_container_follows_from_the_bits(bits, compressed, container):
    storage = WeightStorage(source="s", kind=Evidence.DERIVED, bits=bits, compressed=compressed)
    assert storage.container == container


def test_a_core_with_narrow_dot_products_gains_by_narrow_inputs():
    rows = {(r.weight_bits, r.activation_bits): r for r in width_digests(load_profile("mpic"))}
    conv = {pair: row.kernels[LayerKind.CONV] for pair, row in rows.items()}
    assert 1 / conv[8, 8].cycles_per_mac.value == pytest.approx(2.1, rel=0.01)
    assert 1 / conv[4, 4].cycles_per_mac.value == pytest.approx(3.5, rel=0.01)
    assert 1 / conv[2, 2].cycles_per_mac.value == pytest.approx(6.5, rel=0.01)
    assert conv[8, 8].pj_per_mac.value == pytest.approx(10.3, rel=0.01)
    assert conv[2, 8].pj_per_mac.value == pytest.approx(8.6, rel=0.01)
    assert conv[4, 4].ns_per_mac.kind is Evidence.MEASURED
    assert conv[2, 4].ns_per_mac.kind is Evidence.ESTIMATED


def test_the_tensor_processor_is_as_fast_at_4_bits_as_at_8():
    four, eight = (row.kernels[LayerKind.CONV] for row in width_digests(load_profile("qcs6490")))
    assert four.ns_per_mac.value == eight.ns_per_mac.value == pytest.approx(1 / 4600)
    assert four.cycles_per_mac is None
    assert (four.ns_per_mac.kind, eight.ns_per_mac.kind) == ("estimated", "derived")


def test_a_calibration_scales_the_digest_and_weakens_its_marks():
    m4 = load_profile("cortex-m4")
    fitted = m4.model_copy(
        update={
            "calibration": Calibration(
                source="board",
                kind=Evidence.DERIVED,
                latency_scale={LayerKind.CONV: 2.0},
                other_latency_scale=1.0,
                energy_scale=3.0,
                measurements=1,
            )
        }
    )
    before, after = (width_digests(p)[-1].kernels for p in (m4, fitted))
    conv = LayerKind.CONV
    assert after[conv].ns_per_mac.value == pytest.approx(2 * before[conv].ns_per_mac.value)
    assert after[conv].pj_per_mac.value == pytest.approx(6 * before[conv].pj_per_mac.value)
    assert after[conv].ns_per_mac.kind is Evidence.DERIVED
    linear = LayerKind.LINEAR
    assert after[linear].ns_per_mac.value == before[linear].ns_per_mac.value


@pytest.mark.parametrize(
    ("name", "measured_pj"),
    [("prototype_cortex_m4", 553), ("prototype_cortex_m7", 407)],
)
def test_energy_of_a_mac_is_near_the_boards_own(name, measured_pj):
    # MLPerf Tiny ResNet-8 at 8 bits, whole network. The M7 kernels are faster than the board's
    # stack a MAC because gathering and requantization are counted apart.
    profile = Path(__file__).parents[2] / "benchmarks" / "data" / f"{name}.toml"
    assert conv_cells(profile)[8].pj_per_mac.value == pytest.approx(measured_pj, rel=0.15)


def test_microcontroller_time_is_not_monotone_in_bits():
    cycles = {bits: cells.cycles_per_mac.value for bits, cells in conv_cells("cortex-m4").items()}
    assert cycles[2] < cycles[8] < cycles[6] < cycles[7] < cycles[5]


def test_shift_add_takes_half_a_cycle_a_bit():
    cells = conv_cells("shift-add")
    assert {bits: cell.cycles_per_mac.value for bits, cell in cells.items()} == {
        bits: bits / 2 for bits in WIDTHS
    }


def test_shift_add_energy_is_the_papers_relative_to_an_int8_mac():
    cells = conv_cells("shift-add")
    relative = {bits: cells[bits].pj_per_mac.value / 0.3 for bits in (2, 4, 6, 8)}
    assert relative == pytest.approx({2: 0.75, 4: 0.86, 6: 0.97, 8: 1.09}, abs=1e-3)
    energies = [cells[bits].pj_per_mac.value for bits in WIDTHS]
    assert energies == sorted(energies)


def test_marks_tell_emulation_from_assumption_by_cell():
    m4 = conv_cells("cortex-m4")[4]
    assert m4.cycles_per_mac.kind is m4.ns_per_mac.kind is m4.pj_per_mac.kind is Evidence.EMULATED
    accelerator = conv_cells("shift-add")
    assert accelerator[4].cycles_per_mac.kind is Evidence.DERIVED
    assert accelerator[3].cycles_per_mac.kind is Evidence.ESTIMATED
    assert accelerator[4].ns_per_mac.kind is Evidence.ESTIMATED
    assert accelerator[4].pj_per_mac.kind is Evidence.ESTIMATED


def test_cells_are_in_the_units_they_name():
    cell = conv_cells("cortex-m4")[8]
    cycles = load_profile("cortex-m4").latency.kernels[LayerKind.CONV].cycles_per_mac[8]
    assert cell.ns_per_mac.value == pytest.approx(cycles / 120e6 * 1e9)
    assert cell.pj_per_mac.value == pytest.approx(41.7e-3 * cycles / 120e6 * 1e12)


def test_a_width_that_a_kind_lacks_has_no_cell():
    profile = load_profile("cortex-m4")
    supports = {**profile.supports, LayerKind.LINEAR: {8: (8,)}}
    rows = width_digests(profile.model_copy(update={"supports": supports}))
    assert LayerKind.LINEAR not in rows[0].kernels
    assert LayerKind.LINEAR in rows[-1].kernels


def test_memory_left_for_a_network_excludes_the_reserve():
    assert load_profile("cortex-m4").usable_flash_bytes == (2048 - 12) * 1024
    assert load_profile("shift-add").usable_flash_bytes is None
