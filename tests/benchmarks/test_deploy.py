from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tflite_micro")

from benchmarks import deploy
from benchmarks.deployment.table import deploy_lines
from benchmarks.deployment.targets import TARGETS, Target
from benchmarks.recording import Recorder, begin
from benchmarks.results import BenchResult, BenchRow
from sigmaquant.bitplan import BitPlan
from sigmaquant.devices import available_runtimes
from sigmaquant.export.formats import FORMATS, runtime_of

PLAN = BitPlan(weight_bits={"conv": 8}, activation_bits={"a": 8})
VARIANTS = [
    "fp32",
    "vendor int8",
    *(
        f"{bits} {target.name}"
        for target in TARGETS
        for bits in ("int8", "mixed 4.5", "mixed 3.5", "vendor/1.6")
        if target.name != "litert-fast" or bits == "int8"
    ),
]


def row_of(variant: str, **figures: float) -> BenchRow:
    return BenchRow(
        network="tiny",
        variant=variant,
        metric="top1_percent",
        value=90.0,
        float_value=91.0,
        seconds={},
        samples=1,
        **figures,
    )


class FakeBench:
    """Stands in for a network's bench; dies where it is told to, and has no vendor if told so."""

    name = "tiny"

    def __init__(self, dies_at: str = "", *, vendor: bool = True) -> None:
        self.dies_at = dies_at
        self.vendor = vendor
        self.planned: list[str] = []

    def float_row(self) -> BenchRow:
        return row_of("fp32")

    def vendor_row(self, baseline: BenchRow) -> BenchRow | None:
        assert baseline.variant == "fp32"
        return row_of("vendor int8", file_bytes=1600) if self.vendor else None

    int8 = PLAN

    def mixed(self, target: Target, mean_bits: float) -> BitPlan | None:
        self.planned.append(f"mixed {mean_bits} {target.name}")
        return None if target.name == "litert-fast" else PLAN

    def within(self, target: Target, file_bytes: float) -> BitPlan | None:
        assert file_bytes == 1600 / 1.6
        return self.mixed(target, 0)

    def target_row(
        self, target: Target, variant: str, plan: BitPlan, baseline: BenchRow
    ) -> BenchRow:
        name = f"{variant} {target.name}"
        if name == self.dies_at:
            raise KeyboardInterrupt
        assert (plan, baseline.variant) == (PLAN, "fp32")
        return row_of(name)


def fresh() -> BenchResult:
    return BenchResult.begin("deploy", "make bench BENCH=deploy", 0, deploy.RUNTIMES)


def variants(result: BenchResult) -> list[str]:
    return [row.variant for row in result.rows]


def test_every_target_gets_the_plans_that_it_can_store(tmp_path: Path) -> None:
    recorder = Recorder(fresh(), tmp_path)
    deploy.bench_network(FakeBench(), recorder)
    assert variants(recorder.result) == VARIANTS


def test_a_network_without_a_vendors_file_has_no_such_row(tmp_path: Path) -> None:
    recorder = Recorder(fresh(), tmp_path)
    deploy.bench_network(FakeBench(vendor=False), recorder)
    assert variants(recorder.result) == [name for name in VARIANTS if "vendor" not in name]


@pytest.mark.parametrize("dies_at", VARIANTS[2::4])
def test_a_killed_run_keeps_its_rows_and_resumes(tmp_path: Path, dies_at: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        deploy.bench_network(FakeBench(dies_at), Recorder(fresh(), tmp_path))
    resumed = Recorder(begin(fresh(), tmp_path, resume=True), tmp_path)
    assert variants(resumed.result) == VARIANTS[: VARIANTS.index(dies_at)]
    bench = FakeBench()
    deploy.bench_network(bench, resumed)
    assert variants(resumed.result) == VARIANTS
    assert not set(VARIANTS[: VARIANTS.index(dies_at)]).intersection(bench.planned)


def test_targets_are_formats_with_their_runtimes() -> None:
    for target in TARGETS:
        assert target.file_format in FORMATS
        assert target.name in available_runtimes()
        assert runtime_of(target.file_format, target.options) in (None, target.name)
    names = {target.file_name("mixed 4.5") for target in TARGETS}
    assert len(names) == len(TARGETS)


def test_versions_of_the_runtimes_are_recorded() -> None:
    assert {"ai-edge-litert", "tflite-micro", "torch"} <= set(fresh().versions)


def test_the_table_has_a_line_for_each_file_and_blanks_for_what_was_not_measured() -> None:
    figures = {"file_bytes": 1050, "flash_bytes": 1000, "reference_value": 90.1, "ram_bytes": 5000}
    result = fresh().with_row(row_of("vendor int8")).with_row(row_of("int8 tflm", **figures))
    lines = deploy_lines(result)
    assert lines[1] == "tiny:"
    assert "| vendor int8 | - | - | - | - | 90.00 | - | 1 | - | - | - |" in lines
    assert "| int8 tflm | - | 1,050 | 1,000 | 1.050 | 90.00 | 90.10 | 1 | - | 5,000 | - |" in lines


def test_an_unknown_network_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["deploy", "--networks", "resnet21"])
    with pytest.raises(SystemExit, match="2"):
        deploy.main()
    assert "known: resnet8, dscnn, resnet20, mobilenetv2" in capsys.readouterr().err


def test_absent_assets_end_with_the_code_of_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGMAQUANT_ASSETS", str(tmp_path))
    monkeypatch.setattr(deploy, "_RUNS", tmp_path / "runs")
    monkeypatch.setattr("sys.argv", ["deploy", "--quick"])
    assert deploy.main() == 2
    assert "benchmark assets absent" in capsys.readouterr().err
