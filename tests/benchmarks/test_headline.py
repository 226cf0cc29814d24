from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("onnxscript", reason="the extra 'bench' is not installed")

from benchmarks import headline
from benchmarks.digest.plot import Point, points, save_plot
from benchmarks.digest.reductions import COSTS, DEVICES
from benchmarks.digest.table import headline_lines
from benchmarks.recording import Recorder, begin
from benchmarks.results import BenchResult, BenchRow

VARIANTS = [
    *("fp32", "mixed 1/10", "vendor int8", "mixed 1/8"),
    *("mixed 1/10 + 5 epochs", "uniform 4 nearest", "uniform 4 compensated"),
]


class FakeBench:
    """Stands in for a network's bench: names instead of networks; dies where it is told to."""

    def __init__(self, dies_at: str = "") -> None:
        self.dies_at = dies_at
        self.calls: list[str] = []
        training = SimpleNamespace(epochs=5)
        self.subject = SimpleNamespace(
            name="tiny", reductions=(8, 10), trained=(10,), training=training
        )

    def float_row(self) -> BenchRow:
        self.calls.append("measure fp32")
        return row_of("fp32")

    def vendor_row(self, baseline: BenchRow) -> BenchRow:
        return row_of("vendor int8")

    def mixed(self, variant: str, reduction: float) -> str:
        self.calls.append(f"make {variant}")
        return SimpleNamespace(variant=variant)

    def coded(self, variant: str, reduction: float) -> SimpleNamespace:
        self.calls.append(f"make {variant}")
        return SimpleNamespace(variant=variant)

    def trained(self, variant: str, start: SimpleNamespace) -> SimpleNamespace:
        assert variant.startswith(start.variant)
        return SimpleNamespace(variant=variant)

    def uniform(self, variant: str, bits: int, rounding: str) -> SimpleNamespace:
        return SimpleNamespace(variant=variant)

    def measured(self, candidate: SimpleNamespace, baseline: BenchRow) -> BenchRow:
        if candidate.variant == self.dies_at:
            raise KeyboardInterrupt
        assert baseline.variant == "fp32"
        return row_of(candidate.variant)


def row_of(variant: str) -> BenchRow:
    return BenchRow(
        network="tiny",
        variant=variant,
        metric="top1_percent",
        value=90.0,
        float_value=91.0,
        seconds={"score": 2.0, "search": 1.0, "finetune": 60.0},
        samples=1,
    )


def fresh() -> BenchResult:
    return BenchResult.begin("headline", "make bench BENCH=headline", seed=0)


def test_the_first_plan_is_made_before_anything_is_measured(tmp_path: Path) -> None:
    bench, recorder = FakeBench(), Recorder(fresh(), tmp_path)
    headline.bench_network(bench, recorder)
    assert bench.calls[:2] == ["make mixed 1/10", "measure fp32"]
    assert [row.variant for row in recorder.result.rows] == VARIANTS
    with_memory = [row.variant for row in recorder.result.rows if row.peak_memory_bytes]
    assert with_memory == ["mixed 1/10"]


def test_weights_in_code_are_measured_at_the_same_sizes(tmp_path: Path) -> None:
    bench, recorder = FakeBench(), Recorder(fresh(), tmp_path)
    headline.bench_coded(bench, recorder)
    assert bench.calls[:2] == ["make mixed 1/10 coded", "measure fp32"]
    rows = [row.variant for row in recorder.result.rows]
    assert rows == ["fp32", "mixed 1/10 coded", "mixed 1/8 coded"]
    with_memory = [row.variant for row in recorder.result.rows if row.peak_memory_bytes]
    assert with_memory == ["mixed 1/10 coded"]


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        headline.bench_network(FakeBench("uniform 4 nearest"), Recorder(fresh(), tmp_path))
    bench = FakeBench()
    recorder = Recorder(begin(fresh(), tmp_path, resume=True), tmp_path)
    headline.bench_network(bench, recorder)
    assert bench.calls == []
    assert [row.variant for row in recorder.result.rows] == VARIANTS


def test_a_line_tells_what_shrank_and_how_long_it_took() -> None:
    costs = {f"{device} {cost}": 2.0 for device in DEVICES for cost in COSTS}
    update = {
        "flash_bytes": 1_000,
        "memory_reduction": 12.0,
        "cost_reductions": costs,
        "peak_memory_bytes": 2**21,
    }
    result = fresh().with_row(row_of("fp32")).with_row(row_of("mixed").model_copy(update=update))
    *_, mixed, plain = headline_lines(result)
    cells = "2.00 / 2.00 | 2.00 / 2.00 | 2.00 / 2.00 | 3 | 60 | 2"
    assert mixed == f"| mixed | 90.00 | -1.00 | - | 1,000 | 12.0 x | - | {cells} |"
    assert plain.startswith("| fp32 | 90.00 | -1.00 | - | - | - |")


def sized(variant: str, reduction: float, value: float) -> BenchRow:
    return row_of(variant).model_copy(
        update={"network": "resnet20", "memory_reduction": reduction, "value": value}
    )


def rival(tool: str, draw: int, rounding: str = "own") -> BenchRow:
    update = {"tool": tool, "rounding": rounding, "draw": draw, "weight_bits_mean": 4.0}
    return sized(tool, 8, 80.0).model_copy(update={**update, "memory_reduction": None})


def test_the_picture_holds_ours_the_digests_and_the_rivals_points(tmp_path: Path) -> None:
    rows = [
        sized("fp32", 1, 91),
        sized("mixed 1/10", 10, 90.5),
        sized("mixed 1/10 + 5 epochs", 10, 90.8),
        sized("uniform 4 nearest", 7.9, 20),
        sized("mixed 1/10 coded", 10, 90.75),
    ]
    rivals = [rival("MCT", 0), rival("MCT", 1), rival("MCT", 0, "our"), rival("AIMET", 0)]
    assert points(rows, rivals) == [
        Point("MCT", 8, 11),
        Point("digest", 2.8, 0.4),
        Point("fine-tuned", 10, pytest.approx(0.2)),
        Point("uniform 4, nearest", 7.9, 71),
        Point("weights in code", 10, 0.25),
        Point("without training", 10, 0.5),
    ]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_plot(rows, rivals, tmp_path / name / "plot.svg")
    first, second = ((tmp_path / name / "plot.svg").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith(b"<?xml")
