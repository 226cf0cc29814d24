from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest

from sigmaquant.budget import METRICS
from sigmaquant.errors import ArtifactError
from sigmaquant.report import BudgetUse, LayerScore, Provenance, Quality, RunReport
from sigmaquant.report.model import MARKS, METRIC_TITLES, STAGES, Mark, Metric, Stage


def test_comes_back_from_json_unchanged(report: RunReport, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    assert RunReport.load(tmp_path / "report.json") == report


def test_names_of_metrics_marks_and_stages_are_complete() -> None:
    assert get_args(Metric) == METRICS == tuple(METRIC_TITLES)
    assert get_args(Mark) == tuple(MARKS)
    assert get_args(Stage) == STAGES


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_what_json_cannot_hold(value: float) -> None:
    with pytest.raises(pydantic.ValidationError, match="finite"):
        LayerScore(rise=value)


def test_refuses_an_accuracy_in_percent() -> None:
    with pytest.raises(pydantic.ValidationError, match="fraction of 1"):
        Quality(stage="float", metric="accuracy", value=91.7, samples=10)


def test_refuses_a_time_without_zone() -> None:
    with pytest.raises(pydantic.ValidationError, match="timezone"):
        Provenance(created=datetime(2025, 1, 1), sigmaquant="0.1.0", versions={}, seed=0)


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("budgets", "budget given twice: flash_bytes"),
        ("layers", "layer given twice: conv1"),
        ("quality", "quality given twice: float accuracy"),
        ("compared_plans", "chosen plan given twice"),
    ],
)
def test_refuses_entries_given_twice(report: RunReport, field: str, what: str) -> None:
    entries: tuple[Any, ...] = getattr(report, field)
    repeated = entries[-1] if field == "compared_plans" else entries[0]
    fields = {name: getattr(report, name) for name in RunReport.model_fields}
    with pytest.raises(pydantic.ValidationError, match=what):
        RunReport(**{**fields, field: (*entries, repeated)})


def test_refuses_a_report_without_layers(report: RunReport, tmp_path: Path) -> None:
    report.model_copy(update={"layers": ()}).save(tmp_path / "report.json")
    with pytest.raises(ArtifactError, match="layers"):
        RunReport.load(tmp_path / "report.json")


def test_budget_holds_at_its_limit_and_not_above() -> None:
    def fits(used: float, limit: float | None) -> bool:
        return BudgetUse(metric="latency_ms", limit=limit, used=used, mark="measured").fits

    assert fits(5, 5)
    assert fits(5, None)
    assert not fits(5.001, 5)


def test_final_quality_is_that_of_the_last_measured_stage(report: RunReport) -> None:
    accuracy, loss = report.final_quality("accuracy"), report.final_quality("loss")
    assert accuracy is not None
    assert accuracy.stage == "exported"
    assert loss is not None
    assert loss.stage == "finetuned"


def test_float_quality_is_never_final(report: RunReport) -> None:
    only_float = report.model_copy(update={"quality": report.quality[:2]})
    assert only_float.final_quality("accuracy") is None


def test_mean_bits_are_weighted_by_weights(report: RunReport) -> None:
    small, large = (
        report.layers[0].model_copy(update={"weights": weights, "weight_bits": bits})
        for weights, bits in ((100, 8), (300, 4))
    )
    assert report.model_copy(update={"layers": (small, large)}).weight_bits_mean == 5
