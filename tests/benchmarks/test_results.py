from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.results import BenchResult, BenchRow, all_results, this_machine
from sigmaquant.errors import ArtifactError

ROW = BenchRow(
    network="resnet20",
    variant="uniform 4 nearest",
    metric="top1_percent",
    value=90.5,
    float_value=91.7,
    seconds={"quantize": 1.25},
    samples=9980,
)


def test_a_result_holds_the_agreed_keys(tmp_path: Path) -> None:
    path = BenchResult.begin("main", "make bench BENCH=main", seed=0).with_row(ROW).save(tmp_path)
    content = json.loads(path.read_text())
    assert path.name == "main.json"
    assert list(content) == [
        "bench", "command", "date", "versions", "hardware", "seed", "rows",
    ]  # fmt: skip
    assert set(content["rows"][0]) >= {
        "network", "variant", "metric", "value", "float_value", "weight_bits_mean", "flash_bytes",
        "file_bytes", "float_file_bytes", "latency_ratio_float", "seconds",
    }  # fmt: skip
    assert {"python", "torch", "onnxruntime"} <= set(content["versions"])
    assert content["hardware"]["cores"] >= 1


def test_a_saved_result_reads_back_equal(tmp_path: Path) -> None:
    result = BenchResult.begin("main", "make bench BENCH=main", seed=3).with_row(ROW)
    assert BenchResult.load(result.save(tmp_path)) == result
    assert list(all_results(tmp_path)) == [result]


def test_rows_are_found_by_network_and_variant() -> None:
    result = BenchResult.begin("main", "make bench BENCH=main", seed=0).with_row(ROW)
    assert result.row("resnet20", "uniform 4 nearest") == ROW
    assert result.row("resnet56", "uniform 4 nearest") is None


def test_rows_of_another_seed_or_command_do_not_mix() -> None:
    result = BenchResult.begin("main", "make bench BENCH=main", seed=0)
    assert result.comparable(result.with_row(ROW))
    assert not result.comparable(BenchResult.begin("main", "make bench BENCH=main", seed=1))
    assert not result.comparable(BenchResult.begin("main", "another", seed=0))


@pytest.mark.parametrize("text", ["{", '{"bench": "main"}'])
def test_a_damaged_result_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "main.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"main\.json is not a benchmark result"):
        BenchResult.load(path)


def test_a_renamed_result_is_an_error(tmp_path: Path) -> None:
    path = BenchResult.begin("main", "make bench BENCH=main", seed=0).save(tmp_path)
    renamed = path.rename(tmp_path / "other.json")
    with pytest.raises(ArtifactError, match="holds the benchmark 'main'"):
        BenchResult.load(renamed)


def test_the_machine_is_described() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.ram_gib > 0
