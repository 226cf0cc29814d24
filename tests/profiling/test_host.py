"""Profiles of a host, from made times: they tell what the fit has to find."""

from __future__ import annotations

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import cost_table
from sigmaquant.costs.cycles import kernel_work
from sigmaquant.devices import Evidence, load_profile
from sigmaquant.devices.energy_models import UnknownEnergy
from sigmaquant.devices.profile_file import write_profile
from sigmaquant.errors import DataError
from sigmaquant.layers import LayerKind, LayerTable, StepSpec, TensorSpec
from sigmaquant.profiling import host, host_timing
from sigmaquant.profiling.host import profile_host
from sigmaquant.profiling.host_chains import LayerChain, OperatorChain
from sigmaquant.profiling.host_energy import Power
from sigmaquant.profiling.host_timing import LinkTime, link_time


def made_us(chain):
    """A host of a kind: 1 ns a MAC, 2 ns a gathered value, 3 ns an output, 5 us a layer."""
    if isinstance(chain, OperatorChain):
        return 0.5 + chain.elements * (0.004 if chain.quantized else 0.02)
    work = kernel_work(chain.layer)
    gathered = 2 * work.patch_elements if chain.kind is LayerKind.CONV else 0
    return (work.macs + gathered + 3 * work.outputs) / 1000 + 5 * work.uses + made_us(chain.sums)


def made_time(chain):
    """As ``link_time`` would find: the first link of a chain of layers has no sum."""
    first = made_us(chain.sums) if isinstance(chain, LayerChain) else 0.0
    return LinkTime(link_us=made_us(chain), start_us=40.0 - first)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return profile_host("desk", measure=made_time, powercap=tmp_path_factory.mktemp("none"))


def table_of(chain):
    """A network of the chain's layer, and an addition behind it."""
    shape = chain.layer.output_shape
    tensors = [("in", chain.layer.input_shape), ("out", shape), ("sum", shape)]
    steps = [("layer", "only", ("in", "out"), "out"), ("add", None, ("out", "sum"), "sum")]
    return LayerTable(
        network="Made",
        layers=(chain.layer.model_copy(update={"name": "only"}),),
        tensors=tuple(TensorSpec(name=n, shape=s, group="chain") for n, s in tensors),
        steps=tuple(
            StepSpec(name=n, operator=n, layer=la, live=live, output=out, quantized=True)
            for n, la, live, out in steps
        ),
    )


@pytest.mark.parametrize(
    "chain",
    [
        LayerChain(LayerKind.CONV, 24, 40, 8, size=20, kernel=3),
        LayerChain(LayerKind.DEPTHWISE_CONV, 96, 96, 8, size=10, kernel=3, stride=2),
        LayerChain(LayerKind.LINEAR, 300, 200, 8),
    ],
)
def test_made_times_are_found_again_at_every_width(made, chain):
    table = table_of(chain)
    costs = cost_table(table, made.profile)
    for bits in (2, 8):
        totals = costs.totals(BitPlan.uniform(table, bits, activation_bits=8))
        assert totals["latency_ms"] * 1000 == pytest.approx(made_us(chain) + 40, rel=1e-3)


def test_exact_times_leave_no_error(made):
    assert max(abs(row.left_out) for row in made.rows) < 1e-3
    assert made.profile.uncertainty.latency_worst_percent == 0


def test_figures_are_measured_and_without_a_counter_there_is_no_energy(made):
    profile = made.profile
    costs = cost_table(table_of(LayerChain(LayerKind.LINEAR, 8, 8, 8)), profile)
    assert costs.marks["latency_ms"] == "measured"
    assert "energy_uj" not in costs.marks
    assert isinstance(profile.energy, UnknownEnergy)
    assert "no energy counter here" in profile.energy.reason
    assert all(k.kind is Evidence.MEASURED for k in profile.latency.kernels.values())
    assert "onnxruntime" in profile.latency.kernels[LayerKind.CONV].source


@pytest.fixture
def powercap(tmp_path):
    """A package's counter, which stands still, as in some virtual machines."""
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "9"), ("energy_uj", "5")):
        (zone / name).write_text(text)
    return tmp_path


def test_counters_become_a_power(powercap, monkeypatch):
    monkeypatch.setattr(host, "measured_power", lambda *_: Power(active_mw=31234.5, idle_mw=4000.0))
    energy = profile_host("desk", measure=made_time, powercap=powercap).profile.energy
    assert (energy.model, energy.active_mw, energy.idle.mw) == ("power", 31230.0, 4000.0)
    assert energy.kind is Evidence.MEASURED


def test_a_counter_that_stands_still_is_none(powercap):
    found = profile_host("desk", measure=made_time, powercap=powercap, power_seconds=0.01)
    assert isinstance(found.profile.energy, UnknownEnergy)


def test_a_layer_that_takes_no_longer_than_its_sum_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"conv 3 to 16, 3x3 on 32x32 takes no longer than adding"):
        profile_host("desk", measure=lambda _: LinkTime(1.0, 1.0), powercap=tmp_path)


def test_real_sessions_become_a_profile_that_loads(tmp_path, monkeypatch):
    # Everything runs; only the clock is made, so that no other work on the machine is measured.
    now_ns = 0

    def network_run(program, threads):
        run = real_run(program, threads)

        def timed():
            nonlocal now_ns
            run()
            now_ns += 1000 * sum(map(operator_ns, program.operators))

        return timed

    def operator_ns(operator):
        weights = getattr(operator, "weights", None)
        return 7 if weights is None else 20 + weights.values.size

    real_run = host_timing.network_run
    monkeypatch.setattr(host_timing, "network_run", network_run)
    layers = [
        LayerChain(kind, size, size, bits, size=1 if kind is LayerKind.LINEAR else 6, kernel=3)
        for kind in LayerKind
        for size, bits in ((16, 8), (64, 3), (96, 4))
    ]
    operators = [OperatorChain(n, (16, 8 * s, 8)) for n in ("add", "float sigmoid") for s in (4, 8)]
    found = profile_host(
        "here",
        measure=lambda chain: link_time(chain, threads=1, runs=2, clock_ns=lambda: now_ns),
        layers=layers,
        operators=operators,
        powercap=tmp_path,
    )
    write_profile(found.profile, tmp_path / "here.toml")
    assert load_profile(tmp_path / "here.toml") == found.profile
    measured = {row.name: row.measured for row in found.rows}
    assert measured["linear 64 to 64, 3 bits"] == pytest.approx(20 + 64 * 64)
    assert measured["add on 16x64x8"] == pytest.approx(7)
