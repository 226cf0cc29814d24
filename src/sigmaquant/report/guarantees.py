"""What can be relied on about the plan, in plain sentences, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Iterator

from sigmaquant.report.model import METRIC_TITLES, Refinement, Revision, RunReport


def guarantees(report: RunReport) -> tuple[str, ...]:
    """Budgets, uniform plans, optimality, measured gains and noise, a sentence each.

    What was not found out is said as well: silence would read as a promise.
    """
    sentences = [_budgets(report), _uniform_plans(report), _optimality(report)]
    if report.solution.refinement is not None:
        sentences.append(_refined(report.solution.refinement))
    if report.revision is not None:
        sentences.append(_revised(report.revision))
    return (*sentences, *_noise(report))


def _budgets(report: RunReport) -> str:
    # Truncated, not rounded: "100 %" has to mean the limit.
    shares = {
        _in_a_sentence(METRIC_TITLES[budget.metric]): int(100 * budget.used / budget.limit)
        for budget in report.budgets
        if budget.limit is not None
    }
    if not shares:
        return "No budget was set."
    used = ", ".join(f"{title} to {share} %" for title, share in shares.items())
    if report.broken_budgets:
        return f"Not every budget is kept; used are {used}."
    return f"Every budget is kept; used are {used}."


def _in_a_sentence(title: str) -> str:
    return title[0].lower() + title[1:]


def _uniform_plans(report: RunReport) -> str:
    taken = next((plan for plan in report.compared_plans if plan.chosen), None)
    if taken is None or taken.loss is None:
        return "The plan was not compared with uniform plans."
    rivals = [plan for plan in report.compared_plans if not plan.chosen and plan.feasible]
    if not rivals:
        return "No other uniform plan fits the budgets."
    where = f"on {taken.samples:,} held-back calibration samples"
    measured = [plan for plan in rivals if plan.loss is not None]
    if not measured:
        return f"No other plan that was compared has a finite loss {where}."
    best = min(measured, key=lambda plan: plan.loss or 0.0)
    if taken.origin.startswith("uniform"):
        return (
            f"A uniform plan was taken: {taken.origin} loses {taken.loss:.4g} {where}, the best of "
            f"the others, {best.origin}, {best.loss:.4g}."
        )
    return (
        f"No uniform plan that fits is better {where}: {taken.origin} loses {taken.loss:.4g}, the "
        f"best of them, {best.origin}, {best.loss:.4g}."
    )


def _optimality(report: RunReport) -> str:
    solution = report.solution
    if solution.status == "optimal":
        return "By the scores it is proven that no plan within the budgets is better."
    if solution.gap is None:
        return "How far the best plan by the scores is away is not known: nothing was proven."
    return f"By the scores the best plan is better by {100 * solution.gap:.2g} % at most."


def _refined(refinement: Refinement) -> str:
    tried = f"{refinement.measurements:,} plans were measured"
    if not refinement.kept or refinement.loss_after is None:
        return f"{tried}; none was better than the first by more than noise."
    before, after = refinement.loss_before, refinement.loss_after
    start = "a loss that was not finite" if before is None else f"{before:.4g}"
    error = refinement.standard_error
    noise = "" if error is None else f" (standard error of the difference {error:.2g})"
    return f"{tried}: {refinement.kept} times the loss fell, from {start} to {after:.4g}{noise}."


def _revised(revision: Revision) -> str:
    moves = f"After fine-tuning {_refined(revision.moves)}"
    if not revision.moves.kept:
        return moves
    loss = _or_not_finite(revision.loss_again)
    kept = "this is the result" if revision.taken else "the plan was left as it was"
    return f"{moves} Fine-tuned again under the last of these plans, the loss is {loss}: {kept}."


def _or_not_finite(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4g}"


def _noise(report: RunReport) -> Iterator[str]:
    rise, error = report.solution.rise, report.solution.rise_standard_error
    if rise is None or not error:
        yield "The scores have no standard error, so that nothing tells whether noise decided."
        return
    yield f"The plan's scores add up to a rise of {rise:.3g} with a standard error of {error:.2g}."
    if not report.close_calls:
        yield "No swap of one width step within the budgets lies within the noise of the scores."
        return
    call = report.close_calls[0]
    yield (
        f"The plan hangs on noise: the scores cannot tell it from one with {call.raised} at "
        f"{call.raised_bits} bits and {call.lowered} at {call.lowered_bits}, where the rise "
        f"differs by {call.rise_difference:.2g} with a standard error of {call.standard_error:.2g}."
    )
