"""A device whose energy nobody measured: no plan has one, and no request may depend on it."""

from __future__ import annotations

import pytest

import sigmaquant as sq
from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.costs.calibrate import MeasuredRun, calibrate
from sigmaquant.devices import width_digests
from sigmaquant.devices.energy_models import UnknownEnergy
from sigmaquant.errors import DeviceError
from sigmaquant.stages import limited_by_memory, pareto

M4 = sq.load_profile("cortex-m4")
UNMETERED = M4.model_copy(
    update={"energy": UnknownEnergy(model="unknown", reason="no energy counter here")}
)


def test_its_costs_have_no_mark_for_energy_and_times_as_before(resnet8):
    known, unknown = cost_table(resnet8, M4), cost_table(resnet8, UNMETERED)
    assert set(known.marks) - set(unknown.marks) == {"energy_uj"}
    plan = BitPlan.uniform(resnet8, 8)
    assert unknown.totals(plan) == {**known.totals(plan), "energy_uj": 0.0}


def test_its_digest_has_no_energies():
    cells = [cell for row in width_digests(UNMETERED) for cell in row.kernels.values()]
    assert {cell.pj_per_mac for cell in cells} == {None}


def test_a_budget_of_energy_is_refused():
    with pytest.raises(DeviceError, match=r"energy of cortex-m4 is not known \(no energy counter"):
        limited_by_memory(sq.Budget(energy="1 mJ"), UNMETERED)
    assert limited_by_memory(sq.Budget(latency="1 ms"), UNMETERED).latency_ms == 1


def test_a_front_of_energies_is_refused(resnet8):
    scores = sq.SensitivityTable.model_construct()
    with pytest.raises(DeviceError, match="leave it out of the request"):
        pareto(resnet8, scores, device=UNMETERED, metrics=("rise", "energy_uj"))


def test_measured_energies_have_nothing_to_be_compared_with(resnet8):
    measured = MeasuredRun("ic", resnet8, BitPlan.uniform(resnet8, 8), latency_ms=165)
    assert calibrate(UNMETERED, [measured], "board.csv").calibration.energy_scale == 1
    metered = MeasuredRun("ic", resnet8, measured.plan, latency_ms=165, energy_uj=7000)
    with pytest.raises(DeviceError, match="leave energy_uj out"):
        calibrate(UNMETERED, [metered], "board.csv")
