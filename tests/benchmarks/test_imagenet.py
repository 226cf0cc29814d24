from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import imagenet
from benchmarks.recording import Recorder, begin
from benchmarks.results import BenchResult, BenchRow

VARIANTS = [
    "fp32",
    *("mixed 4.0", "mixed 8.0", "mixed 6.0", "mixed 5.0", "mixed 4.5", "mixed 3.5"),
    *("uniform 8 nearest", "uniform 8 compensated", "uniform 6 nearest", "uniform 6 compensated"),
    *("uniform 5 nearest", "uniform 5 compensated", "uniform 4 nearest", "uniform 4 compensated"),
]


class FakeBench:
    """Stands in for a network's bench: names instead of networks; dies where it is told to."""

    name = "tiny"

    def __init__(self, dies_at: str = "") -> None:
        self.dies_at = dies_at
        self.calls: list[str] = []
        self.meter = self

    def float_row(self) -> BenchRow:
        self.calls.append("measure fp32")
        return row_of("fp32")

    def mixed(self, mean_bits: float) -> str:
        self.calls.append(f"make mixed {mean_bits:.1f}")
        return f"mixed {mean_bits:.1f}"

    def uniform(self, bits: int, rounding: str) -> str:
        return f"uniform {bits} {rounding}"

    def measured(self, candidate: str, baseline: BenchRow) -> BenchRow:
        if candidate == self.dies_at:
            raise KeyboardInterrupt
        assert baseline.variant == "fp32"
        return row_of(candidate)


def row_of(variant: str) -> BenchRow:
    return BenchRow(
        network="tiny",
        variant=variant,
        metric="top1_percent",
        value=90.0,
        float_value=91.0,
        seconds={},
        samples=1,
    )


def fresh() -> BenchResult:
    return BenchResult.begin("imagenet", "make bench BENCH=imagenet", seed=0)


def test_the_first_plan_is_made_before_anything_is_measured(tmp_path: Path) -> None:
    bench, recorder = FakeBench(), Recorder(fresh(), tmp_path)
    imagenet.bench_network(bench, recorder)
    assert bench.calls[:2] == ["make mixed 4.0", "measure fp32"]
    assert [row.variant for row in recorder.result.rows] == VARIANTS
    with_memory = [row.variant for row in recorder.result.rows if row.peak_memory_bytes]
    assert with_memory == ["mixed 4.0"]


@pytest.mark.parametrize("dies_at", VARIANTS[1:])
def test_a_killed_run_keeps_its_rows_and_resumes(tmp_path: Path, dies_at: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        imagenet.bench_network(FakeBench(dies_at), Recorder(fresh(), tmp_path))
    resumed = Recorder(begin(fresh(), tmp_path, resume=True), tmp_path)
    assert [row.variant for row in resumed.result.rows] == VARIANTS[: VARIANTS.index(dies_at)]
    bench = FakeBench()
    imagenet.bench_network(bench, resumed)
    assert [row.variant for row in resumed.result.rows] == VARIANTS
    assert "measure fp32" not in bench.calls
