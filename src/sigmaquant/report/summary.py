"""The run in one sentence: what was saved, what it cost, whether it fits."""

from __future__ import annotations

from sigmaquant.report.model import METRIC_TITLES, RunReport
from sigmaquant.units import format_bytes


def headline(report: RunReport) -> str:
    """Size, quality and fit in one sentence, without a full stop.

    Such as "71.3 KiB of flash instead of 301 KiB float (4.2x smaller), accuracy 98.1 -> 97.9 %,
    fits cortex-m4".
    """
    parts = (_size(report), _quality(report), _fit(report))
    return ", ".join(part for part in parts if part)


def _size(report: RunReport) -> str:
    flash = report.budget("flash_bytes")
    if flash is None:
        return f"{report.weight_bits_mean:.2f} bits a weight"
    if not flash.float_value or not flash.used:
        return f"{format_bytes(flash.used)} of flash"
    ratio = flash.float_value / flash.used
    change = f"{ratio:.1f}x smaller" if ratio >= 1 else f"{1 / ratio:.1f}x larger"
    used, before = format_bytes(flash.used), format_bytes(flash.float_value)
    return f"{used} of flash instead of {before} float ({change})"


def _quality(report: RunReport) -> str:
    after, before = report.final_quality("accuracy"), report.quality_at("float", "accuracy")
    if after is not None:
        start = f"{100 * before.value:.1f} -> " if before else ""
        return f"accuracy {start}{100 * after.value:.1f} %"
    after, before = report.final_quality("loss"), report.quality_at("float", "loss")
    if after is not None:
        start = f"{before.value:.4g} -> " if before else ""
        return f"loss {start}{after.value:.4g}"
    return ""


def _fit(report: RunReport) -> str:
    name = report.target.name
    if report.broken_budgets:
        titles = (METRIC_TITLES[budget.metric].lower() for budget in report.broken_budgets)
        return f"exceeds the {' and '.join(titles)} budget on {name}"
    limited = any(budget.limit is not None for budget in report.budgets)
    return f"fits {name}" if limited else f"for {name}, no limits set"
