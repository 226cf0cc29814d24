"""Energy counters as Linux shows them, in a folder of our own."""

from __future__ import annotations

import pytest

from sigmaquant.profiling.host_energy import Power, measured_power, package_counters


@pytest.fixture
def powercap(tmp_path):
    """Two packages, and a part of the first, which is in it already."""
    for zone, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
    ):
        folder = tmp_path / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text("999999\n")
        (folder / "energy_uj").write_text("0\n")
    return tmp_path


def test_packages_count_and_their_parts_do_not(powercap):
    assert [c.path.parent.name for c in package_counters(powercap)] == [
        "intel-rapl:0",
        "intel-rapl:1",
    ]


def test_what_cannot_be_read_is_no_counter(powercap, tmp_path):
    (powercap / "intel-rapl:1" / "energy_uj").write_text("secret")
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert package_counters(powercap) == ()
    assert package_counters(tmp_path / "absent") == ()


def test_power_is_the_counters_rise_over_time_also_where_they_start_again(powercap):
    # 30 W at work and 4 W at rest, on counters that hold a joule; time passes in steps of 10 ms.
    now_ns, files = 0, [powercap / f"intel-rapl:{at}" / "energy_uj" for at in (0, 1)]
    files[0].write_text("990000")

    def pass_time(ns, watts):
        nonlocal now_ns
        now_ns += ns
        for file, share in zip(files, (0.75, 0.25), strict=True):
            spent_uj = watts * share * ns / 1000
            file.write_text(str(int(int(file.read_text()) + spent_uj) % 1_000_000))

    found = measured_power(
        package_counters(powercap),
        lambda: pass_time(10_000_000, 30),
        seconds=0.02,
        rest=lambda seconds: pass_time(int(seconds * 1e9), 4),
        clock_ns=lambda: now_ns,
    )
    assert found == Power(active_mw=pytest.approx(30_000), idle_mw=pytest.approx(4000))
