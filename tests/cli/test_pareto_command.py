"""``sigmaquant pareto`` and what ``sq.pareto`` answers for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq
from sigmaquant.search import Front


@pytest.fixture
def run_files(finished_project: Path) -> tuple[str, str]:
    """The captured network and its scores."""
    return tuple(str(finished_project / "out" / name) for name in ("network.pt2", "scores.json"))


def test_the_table_marks_the_knee_and_the_file_is_a_front(
    run_files: tuple[str, str], sigmaquant: Any, tmp_path: Path
) -> None:
    out = tmp_path / "front.json"
    ended = sigmaquant("pareto", *run_files, "--device", "cortex-m4", "--out", str(out))
    assert ended.code == 0, ended.err
    front = Front.load(out)
    lines = [line.strip() for line in ended.out.splitlines()]
    (knee,) = (line for line in lines if "knee" in line.split())
    assert front.knee is not None
    assert knee.startswith(f"{front.knee + 1} knee")
    assert f"{front.points[front.knee].objective:.4g}" in knee
    assert sum("optimal" in line for line in lines) == len(front.points)
    assert "flash_bytes: derived" in lines
    assert lines[-1] == f"front: {out}"


def test_json_is_what_the_facade_answers_for_the_layer_table(
    run_files: tuple[str, str], sigmaquant: Any, tmp_path: Path
) -> None:
    network, scores = run_files
    table = sq.Network.load(network).table
    table.save(tmp_path / "table.json")
    ended = sigmaquant(
        *("pareto", str(tmp_path / "table.json"), scores, "--device", "cortex-m4"),
        *("--flash", "1200B", "--metrics", "rise, latency_ms", "--points", "4"),
        *("--out", str(tmp_path / "front.json"), "--json"),
    )
    assert ended.code == 0, ended.err
    printed = Front.model_validate_json(ended.out)
    assert printed == Front.load(tmp_path / "front.json")
    front = sq.pareto(
        table,
        sq.SensitivityTable.load(scores),
        device="cortex-m4",
        budget=sq.Budget(flash="1200 B"),
        metrics=("rise", "latency_ms"),
        points=4,
    )
    assert [p.plan for p in printed.points] == [p.plan for p in front.points]
    assert all(point.totals["flash_bytes"] <= 1200 for point in front.points)
    assert front.limits["peak_ram_bytes"] == 655_360  # the device's own


def test_a_line_of_the_table_is_a_budget_for_search(
    run_files: tuple[str, str], sigmaquant: Any, tmp_path: Path
) -> None:
    network, scores = run_files
    front = sq.pareto(
        sq.Network.load(network), sq.SensitivityTable.load(scores), device="cortex-m4", points=5
    )
    out = tmp_path / "plan.json"
    listed = sigmaquant(
        *("pareto", network, scores, "--device", "cortex-m4", "--points", "5"),
        *("--out", str(tmp_path / "front.json")),
    )
    (line,) = (line for line in listed.out.splitlines() if line.startswith(" 2 "))
    flash = "".join(line.split()[-3:-1])
    sigmaquant(
        *("search", network, scores, "--device", "cortex-m4", "--flash", flash), "--out", str(out)
    )
    assert sq.BitPlan.load(out).weight_bits == front.points[1].plan.weight_bits


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--metrics", "rise,flash"), 2, "'flash' cannot be traded; did you mean 'flash_bytes'?"),
        (("--metrics", "rise"), 2, "two or three different metrics"),
        (("--flash", "10B"), 3, "flash of 10 B cannot be met"),
    ],
)
def test_what_cannot_be_done_says_so(
    run_files: tuple[str, str],
    sigmaquant: Any,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    out = tmp_path / "front.json"
    ended = sigmaquant("pareto", *run_files, "--device", "cortex-m4", *arguments, "--out", str(out))
    assert ended.code == code
    assert message in ended.err
    assert not out.exists()
