from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import main
from benchmarks.recording import Recorder, begin
from benchmarks.results import BenchResult, BenchRow
from sigmaquant.errors import ConfigError

VARIANTS = [
    "fp32",
    "uniform 8 nearest",
    "uniform 8 compensated",
    "uniform 4 nearest",
    "uniform 4 compensated",
    "uniform 3 nearest",
    "uniform 3 compensated",
    "greedy 1/8",
    "greedy 1/8 + 2 epochs",
    "greedy 1/10",
    "greedy 1/10 + 2 epochs",
]


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


class FakeBench:
    """Stands in for a network's bench: names instead of networks; dies where it is told to."""

    name = "tiny"
    settings = SimpleNamespace(epochs=2)

    def __init__(self, dies_at: str = "") -> None:
        self.dies_at = dies_at
        self.calls: list[str] = []
        self.meter = self

    def float_row(self) -> BenchRow:
        return row_of("fp32")

    def uniform(self, variant: str, bits: int, rounding: str) -> str:
        return variant

    def greedy(self, variant: str, divisor: int) -> str:
        self.calls.append(f"search {variant}")
        return variant

    def trained(self, variant: str, start: str) -> str:
        self.calls.append(f"train from {start}")
        return variant

    def measured(self, candidate: str, baseline: BenchRow) -> BenchRow:
        if candidate == self.dies_at:
            raise KeyboardInterrupt
        assert baseline.variant == "fp32"
        return row_of(candidate)


def fresh() -> BenchResult:
    return BenchResult.begin("main", "make bench BENCH=main", seed=0)


def variants_on_disk(folder: Path) -> list[str]:
    return [row.variant for row in BenchResult.load(folder / "main.json").rows]


def test_every_variant_gets_a_row(tmp_path: Path) -> None:
    bench = FakeBench()
    main.bench_network(bench, Recorder(fresh(), tmp_path))
    assert variants_on_disk(tmp_path) == VARIANTS
    assert bench.calls == [
        "search greedy 1/8",
        "train from greedy 1/8",
        "search greedy 1/10",
        "train from greedy 1/10",
    ]


@pytest.mark.parametrize("dies_at", VARIANTS[2:])
def test_a_killed_run_keeps_its_rows_and_resumes(tmp_path: Path, dies_at: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        main.bench_network(FakeBench(dies_at), Recorder(fresh(), tmp_path))
    kept = variants_on_disk(tmp_path)
    assert kept == VARIANTS[: VARIANTS.index(dies_at)]
    resumed = begin(fresh(), tmp_path, resume=True)
    bench = FakeBench()
    main.bench_network(bench, Recorder(resumed, tmp_path))
    assert variants_on_disk(tmp_path) == VARIANTS


def test_what_is_complete_is_not_searched_again(tmp_path: Path) -> None:
    main.bench_network(FakeBench(), Recorder(fresh(), tmp_path))
    bench = FakeBench()
    main.bench_network(bench, Recorder(begin(fresh(), tmp_path, resume=True), tmp_path))
    assert bench.calls == []


def test_without_resume_or_an_earlier_run_it_begins_anew(tmp_path: Path) -> None:
    assert begin(fresh(), tmp_path, resume=True).rows == ()
    main.bench_network(FakeBench(), Recorder(fresh(), tmp_path))
    assert begin(fresh(), tmp_path, resume=False).rows == ()


def test_rows_of_other_conditions_are_not_continued(tmp_path: Path) -> None:
    other = BenchResult.begin("main", "make bench BENCH=main", seed=1)
    main.bench_network(FakeBench(), Recorder(other, tmp_path))
    with pytest.raises(ConfigError, match="start anew without --resume"):
        begin(fresh(), tmp_path, resume=True)


@pytest.mark.parametrize("names", ["resnet21", "resnet20,", ""])
def test_an_unknown_network_is_refused(
    names: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["main", "--networks", names])
    with pytest.raises(SystemExit, match="2"):
        main.main()
    assert "known: resnet20, resnet56, resnet8" in capsys.readouterr().err


def test_absent_assets_end_with_the_code_of_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGMAQUANT_ASSETS", str(tmp_path))
    monkeypatch.setattr(main, "_RUNS", tmp_path / "runs")
    monkeypatch.setattr("sys.argv", ["main", "--quick"])
    assert main.main() == 2
    assert "benchmark assets absent" in capsys.readouterr().err
