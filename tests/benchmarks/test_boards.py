"""The boards benchmark: which boards count, and what its tables say."""

from __future__ import annotations

import pytest

from benchmarks import boards
from benchmarks.boards_table import (
    FROM_OTHERS,
    UNCALIBRATED,
    boards_lines,
    by_prototype,
    from_network,
)
from benchmarks.results import BenchResult, BenchRow


def test_33_pairs_of_board_and_stack_have_all_three_networks():
    times = boards.board_times()
    assert len(times) == 33
    assert all(own.keys() == {"ic", "kws", "ad"} for own in times.values())
    assert times["v1.1 plumerai NUCLEO-L4R5ZI"] == {"ic": 167.757, "kws": 47.781, "ad": 4.052}
    assert not any("float" in pair or "G0B1" in pair for pair in times)


def test_a_board_takes_its_cores_profile_at_its_own_clock():
    profile = boards.board_profile("v1.1 bosch DISCO_F746NG")
    assert (profile.name, profile.clock.mhz) == ("cortex-m7", 216)
    other = boards.board_profile("v1.1 bosch DISCO_F746NG", prototype=True)
    assert other.clock.mhz == 216
    assert other.latency != profile.latency


def test_a_row_holds_predictions_that_never_saw_it():
    tables = boards.layer_tables()
    assert [tables[task].macs for task in ("ic", "kws", "ad")] == [12_501_632, 2_656_768, 264_192]
    pair = "v1.1 plumerai NUCLEO-L4R5ZI"
    times = boards.board_times()[pair]
    rows = boards.board_rows(pair, times, tables)
    other = boards.board_rows(pair, {**times, "ic": 2 * times["ic"]}, tables)
    assert [row.network for row in rows] == ["resnet8", "dscnn", "autoencoder"]
    assert rows[0].variant == "Cortex-M4: v1.1 plumerai NUCLEO-L4R5ZI"
    ways = {UNCALIBRATED, from_network("dscnn"), from_network("autoencoder"), FROM_OTHERS}
    assert set(rows[0].predicted_ms) == ways | {by_prototype(way) for way in ways}
    assert other[0].predicted_ms == pytest.approx(rows[0].predicted_ms)
    assert other[1].predicted_ms[from_network("resnet8")] == pytest.approx(
        2 * rows[1].predicted_ms[from_network("resnet8")]
    )


def test_the_tables_have_medians_by_core_and_a_line_for_each_board():
    result = BenchResult.begin("boards", "make bench BENCH=boards", seed=0)
    for core, error in (("Cortex-M4", 1.2), ("Cortex-M7", 0.9)):
        result = result.with_row(
            BenchRow(
                network="dscnn",
                variant=f"{core}: v1 a board",
                metric="latency_ms",
                value=10.0,
                float_value=None,
                seconds={},
                samples=1,
                predicted_ms={
                    UNCALIBRATED: 10 * error,
                    "from resnet8": 11.0,
                    FROM_OTHERS: 9.5,
                    by_prototype(UNCALIBRATED): 10.0,
                    by_prototype("from resnet8"): 10.5,
                    by_prototype(FROM_OTHERS): 9.0,
                },
            )
        )
    lines = boards_lines(result)
    none = "15.0 % (-10 .. +20) | 20.0 % (+20 .. +20) | 10.0 % (-10 .. -10) |"
    assert f"| C export | none | 17 % | {none}" in lines
    assert "| prototype | both other networks | 15 % | 10.0 % (-10 .. -10) |" in "\n".join(lines)
    assert "| Cortex-M4: v1 a board | 10 | +20 % | -5 % |" in lines
