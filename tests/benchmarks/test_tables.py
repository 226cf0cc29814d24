from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.results import BenchResult, BenchRow, all_results
from benchmarks.tables import PAGE, rendered
from sigmaquant.errors import DataError

PAGE_OF_TWO = """# Title
<!-- table: main -->
old
<!-- end -->
between
<!-- table: other-bench -->
<!-- end -->
"""


def result_of(bench: str) -> BenchResult:
    row = BenchRow(
        network="resnet20",
        variant="greedy 1/8",
        metric="top1_percent",
        value=91.254,
        float_value=91.734,
        weight_bits_mean=3.871,
        flash_bytes=130_000,
        file_bytes=150_123,
        latency_ratio_float=0.4,
        seconds={"score": 12.345, "search": 0.0123},
        samples=9980,
    )
    return BenchResult.begin(bench, f"make bench BENCH={bench}", seed=0).with_row(row)


def test_the_page_is_up_to_date_with_the_results() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rendered(text, all_results()) == text, "run python -m benchmarks.tables"


def test_a_table_has_the_command_and_a_line_for_each_row() -> None:
    page = rendered(PAGE_OF_TWO, [result_of("main")])
    assert "`make bench BENCH=main`" in page
    assert (
        "| resnet20 | greedy 1/8 | top1_percent | 91.25 | -0.48 | 3.87 | 130,000 | 150,123 | - | "
        "0.40 | - | score 12.3, search 0.0123 |"
    ) in page
    assert "old" not in page


def test_text_around_the_tables_stays() -> None:
    page = rendered(PAGE_OF_TWO, [result_of("main")])
    assert page.startswith("# Title\n<!-- table: main -->\n")
    assert page.endswith(
        "<!-- end -->\nbetween\n<!-- table: other-bench -->\nNot measured yet.\n<!-- end -->\n"
    )


@pytest.mark.parametrize("bench", ["main", "imagenet", "rivals"])
def test_the_page_has_a_place_for_every_benchmark(bench: str) -> None:
    assert f"`make bench BENCH={bench}`" in rendered(
        PAGE.read_text(encoding="utf-8"), [result_of(bench)]
    )


def test_peak_memory_is_shown_where_it_was_measured() -> None:
    (row,) = result_of("main").rows
    measured = row.model_copy(update={"variant": "mixed 4.0", "peak_memory_bytes": 3 * 2**29})
    page = rendered(PAGE_OF_TWO, [result_of("main").with_row(measured)])
    assert "peak MiB" not in rendered(PAGE_OF_TWO, [result_of("main")])
    assert [line.split(" | ")[-1] for line in page.splitlines() if "resnet20" in line] == [
        "- |",
        "1,536 |",
    ]


def test_rendering_twice_changes_nothing() -> None:
    results = [result_of("main"), result_of("other-bench")]
    once = rendered(PAGE_OF_TWO, results)
    assert rendered(once, results) == once


def test_a_result_without_a_place_is_an_error() -> None:
    with pytest.raises(DataError, match="no place for 'rivals'"):
        rendered(PAGE_OF_TWO, [result_of("rivals")])


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "BENCHMARKS.md"
    path.write_text(PAGE_OF_TWO)
    monkeypatch.setattr(tables, "PAGE", path)
    monkeypatch.setattr(tables, "all_results", lambda: [result_of("main")])
    return path


def test_an_error_is_said_without_a_traceback(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "all_results", lambda: [result_of("rivals")])
    monkeypatch.setattr("sys.argv", ["tables"])
    assert tables.main() == DataError.exit_code
    assert "the page has no place for 'rivals'" in capsys.readouterr().err
    assert page.read_text() == PAGE_OF_TWO


def test_checking_fails_on_an_old_page_and_leaves_it(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tables", "--check"])
    assert tables.main() == 4
    assert page.read_text() == PAGE_OF_TWO
    assert "out of date" in capsys.readouterr().err


def test_writing_brings_the_page_up_to_date(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tables"])
    assert tables.main() == 0
    assert "greedy 1/8" in page.read_text()
    monkeypatch.setattr("sys.argv", ["tables", "--check"])
    assert tables.main() == 0


def test_metrics_are_shown_beside_the_measured_loss() -> None:
    result = BenchResult.begin("scores", "make bench BENCH=scores", seed=0)
    for metric, seconds, agreement in (("taylor", 4.0, 0.9876), ("loss", 50.0, 1.0)):
        result = result.with_row(
            BenchRow(
                network="resnet56",
                variant=metric,
                metric="rank_correlation",
                value=agreement,
                float_value=1.0,
                seconds={"score": seconds},
                samples=256,
            )
        )
    page = rendered("<!-- table: scores -->\n<!-- end -->\n", [result])
    assert "| resnet56 | taylor | 256 | 4.0 | 12.5 x | 0.988 |" in page
    assert "| resnet56 | loss | 256 | 50.0 | 1.0 x | 1.000 |" in page
