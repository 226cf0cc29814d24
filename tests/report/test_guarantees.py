from __future__ import annotations

import re
from typing import Any

import pytest

from sigmaquant.report import Refinement, Revision, RunReport, guarantees


def told(report: RunReport, **solution: Any) -> str:
    """All sentences, with some of the solution's fields set."""
    changed = report.solution.model_copy(update=solution)
    return " ".join(guarantees(report.model_copy(update={"solution": changed})))


def refinement(**fields: Any) -> Refinement:
    found = {"measurements": 31, "kept": 3, "loss_before": 0.0391, "loss_after": 0.035}
    return Refinement(**{**found, "standard_error": 0.0011, **fields})


def test_every_guarantee_of_a_full_report(report: RunReport) -> None:
    budgets, uniform, optimality, scores, noise = guarantees(report)
    assert re.fullmatch(
        r"Every budget is kept; used are flash to 9\d %, peak RAM to 81 %, latency to 80 %\.",
        budgets,
    )
    assert uniform == (
        "No uniform plan that fits is better on 128 held-back calibration samples: greedy loses "
        "0.0391, the best of them, uniform 3, 0.5284."
    )
    assert optimality.endswith("is not known: nothing was proven.")
    assert scores == "The plan's scores add up to a rise of 0.0352 with a standard error of 0.0011."
    assert noise.startswith("The plan hangs on noise: the scores cannot tell it from one with ")
    assert noise.endswith("differs by 0.0004 with a standard error of 0.0007.")


def test_what_is_not_known_is_said(minimal_report: RunReport) -> None:
    assert guarantees(minimal_report) == (
        "No budget was set.",
        "The plan was not compared with uniform plans.",
        "How far the best plan by the scores is away is not known: nothing was proven.",
        "The scores have no standard error, so that nothing tells whether noise decided.",
    )


def test_a_broken_budget(troubled_report: RunReport) -> None:
    assert guarantees(troubled_report)[0].startswith("Not every budget is kept; used are flash to ")


@pytest.mark.parametrize(
    ("status", "gap", "sentence"),
    [
        ("optimal", 0.0, "it is proven that no plan within the budgets is better"),
        ("unproven", 0.0234, "the best plan is better by 2.3 % at most"),
        ("unproven", None, "nothing was proven"),
        ("feasible", 0.12, "the best plan is better by 12 % at most"),
    ],
)
def test_optimality(report: RunReport, status: str, gap: float | None, sentence: str) -> None:
    assert sentence in told(report, status=status, gap=gap)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            refinement(),
            "31 plans were measured: 3 times the loss fell, from 0.0391 to 0.035 (standard error "
            "of the difference 0.0011).",
        ),
        (refinement(standard_error=None), "from 0.0391 to 0.035."),
        (refinement(loss_before=None), "from a loss that was not finite to 0.035"),
        (refinement(kept=0), "31 plans were measured; none was better than the first"),
    ],
)
def test_what_measuring_gained(report: RunReport, record: Refinement, sentence: str) -> None:
    assert sentence in told(report, refinement=record)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            Revision(moves=refinement(kept=0)),
            "After fine-tuning 31 plans were measured; none was better than the first by more "
            "than noise.",
        ),
        (
            Revision(moves=refinement(), loss_again=0.0312, taken=True),
            "After fine-tuning 31 plans were measured: 3 times the loss fell, from 0.0391 to 0.035 "
            "(standard error of the difference 0.0011). Fine-tuned again under the last of these "
            "plans, the loss is 0.0312: this is the result.",
        ),
        (
            Revision(moves=refinement(), loss_again=None),
            "plans, the loss is not finite: the plan was left as it was.",
        ),
    ],
)
def test_what_a_revision_gained(report: RunReport, record: Revision, sentence: str) -> None:
    assert sentence in " ".join(guarantees(report.model_copy(update={"revision": record})))


def test_a_uniform_plan_that_was_taken(report: RunReport) -> None:
    *uniform, searched = report.compared_plans
    taken = uniform[1].model_copy(update={"chosen": True, "loss": 0.01})
    plans = (taken, searched.model_copy(update={"chosen": False}))
    text = " ".join(guarantees(report.model_copy(update={"compared_plans": plans})))
    assert "A uniform plan was taken: uniform 3 loses 0.01 on 128 held-back" in text
    assert "the best of the others, greedy, 0.0391" in text


def test_no_rival_that_fits(report: RunReport) -> None:
    only = report.model_copy(update={"compared_plans": report.compared_plans[-1:]})
    assert "No other uniform plan fits the budgets." in guarantees(only)


def test_rivals_without_a_finite_loss(report: RunReport) -> None:
    *uniform, searched = report.compared_plans
    broken = [plan.model_copy(update={"loss": None}) for plan in uniform if plan.feasible]
    plans = (*broken, searched)
    assert (
        "No other plan that was compared has a finite loss on 128 held-back calibration samples."
        in guarantees(report.model_copy(update={"compared_plans": plans}))
    )


def test_a_plan_that_noise_did_not_decide(report: RunReport) -> None:
    sure = report.model_copy(update={"close_calls": ()})
    assert guarantees(sure)[-1].startswith("No swap of one width step within the budgets lies")
