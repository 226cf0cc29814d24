from __future__ import annotations

from sigmaquant.report import BudgetUse, Quality, RunReport, headline

FLASH = BudgetUse(metric="flash_bytes", limit=81920, used=73011, mark="derived", float_value=308224)
ACCURACY = (
    Quality(stage="float", metric="accuracy", value=0.981, samples=100),
    Quality(stage="exported", metric="accuracy", value=0.979, samples=100),
)


def _changed(report: RunReport, **fields: object) -> str:
    return headline(report.model_copy(update={"budgets": (), "quality": (), **fields}))


def test_says_size_accuracy_and_fit(report: RunReport) -> None:
    assert _changed(report, budgets=(FLASH,), quality=ACCURACY) == (
        "71.3 KiB of flash instead of 301 KiB float (4.2x smaller), "
        "accuracy 98.1 -> 97.9 %, fits cortex-m4"
    )


def test_names_the_broken_budgets(report: RunReport) -> None:
    latency = BudgetUse(metric="latency_ms", limit=1, used=2, mark="measured")
    broken = FLASH.model_copy(update={"limit": 1024.0})
    assert _changed(report, budgets=(broken, latency)).endswith(
        "exceeds the flash and latency budget on cortex-m4"
    )


def test_says_when_the_plan_is_larger_than_float(report: RunReport) -> None:
    larger = FLASH.model_copy(update={"float_value": FLASH.used / 2})
    assert "(2.0x larger)" in _changed(report, budgets=(larger,))


def test_without_a_float_size_gives_the_size_alone(report: RunReport) -> None:
    unknown = FLASH.model_copy(update={"float_value": None})
    assert _changed(report, budgets=(unknown,)) == "71.3 KiB of flash, fits cortex-m4"


def test_without_costs_gives_bits_and_says_that_nothing_was_limited(report: RunReport) -> None:
    bits = f"{report.weight_bits_mean:.2f} bits a weight"
    assert _changed(report) == f"{bits}, for cortex-m4, no limits set"


def test_without_labels_gives_the_loss(report: RunReport) -> None:
    loss = Quality(stage="quantized", metric="loss", value=0.0391, samples=8)
    before = Quality(stage="float", metric="loss", value=0.0, samples=8)
    assert "loss 0.0391," in _changed(report, quality=(loss,))
    assert "loss 0 -> 0.0391," in _changed(report, quality=(before, loss))
