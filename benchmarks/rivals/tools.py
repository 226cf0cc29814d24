"""The rivals, and how their answers are got from their own environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rivals.environments import WorkerError, requirements_of, run_worker
from benchmarks.rivals.workers.exchange import Answer, Task, answer_path
from sigmaquant.layers import LayerTable

_SAME_NLL = 1e-3  # as a share; other builds of torch sum in another order


@dataclass(frozen=True)
class Rival:
    """One tool in one setting.

    Attributes:
        title: as in the tables.
        environment: names its requirements and its worker.
        package: the pinned package that is the tool.
        takes_budget: whether it can be told how many bytes to spend.
        loss_factor: see ``Task``.
    """

    title: str
    environment: str
    package: str
    takes_budget: bool = True
    loss_factor: float = 1.0

    def budgets(self, budgets_bits: Sequence[float]) -> tuple[float | None, ...]:
        """The budgets that it gives one answer each to."""
        return tuple(budgets_bits) if self.takes_budget else (None,)

    def version(self) -> str:
        """The pinned version."""
        lines = requirements_of(self.environment).read_text(encoding="utf-8").splitlines()
        (version,) = [
            v for name, _, v in (x.partition("==") for x in lines) if name == self.package
        ]
        return version


RIVALS = {
    "mct": Rival("MCT", "mct", "model-compression-toolkit"),
    "modelopt": Rival("ModelOpt", "modelopt", "nvidia-modelopt"),
    "modelopt-x1000": Rival(
        "ModelOpt, loss x1000", "modelopt", "nvidia-modelopt", loss_factor=1000.0
    ),
    "aimet": Rival("AIMET", "aimet", "aimet-torch", takes_budget=False),
}
"""Rivals by their name on the command line."""


def rival_versions() -> dict[str, str]:
    """Pinned version of every rival's package."""
    return {rival.package: rival.version() for rival in RIVALS.values()}


@dataclass(frozen=True)
class Request:
    """A task to be put to a rival.

    Attributes:
        path: where the task file is written.
        task: for one draw.
        float_nll_nats: of the float network on its calibration samples, as we measure it.
    """

    path: Path
    task: Task
    float_nll_nats: float


def answers(
    rival: Rival, requests: Sequence[Request], table: LayerTable
) -> list[tuple[Answer, ...]]:
    """Run the rival once on all requests; what it found for each budget of each.

    Raises:
        WorkerError: the tool failed, or worked on other layers, weights or samples than ours.
    """
    if not requests:
        return []
    for request in requests:
        request.task.save(request.path)
    paths = [request.path for request in requests]
    run_worker(rival.environment, paths, paths[0].with_suffix(".log"))
    return [_answers(rival, request, table) for request in requests]


def _answers(rival: Rival, request: Request, table: LayerTable) -> tuple[Answer, ...]:
    folder = Path(request.task.answers)
    budgets = rival.budgets(request.task.budgets_bits)
    found = tuple(Answer.load(answer_path(folder, budget_bits)) for budget_bits in budgets)
    for answer in found:
        _check(rival, answer, table, request.float_nll_nats)
    return found


def _check(rival: Rival, answer: Answer, table: LayerTable, expected: float) -> None:
    layers = {layer.name for layer in table.layers}
    if set(answer.weight_bits) != layers:
        difference = ", ".join(sorted(layers.symmetric_difference(answer.weight_bits)))
        raise WorkerError(f"{rival.title} chose widths of other layers than ours: {difference}")
    if abs(answer.float_nll_nats - expected) > _SAME_NLL * expected:
        raise WorkerError(
            f"{rival.title} did not work on our float network and samples: their loss is "
            f"{answer.float_nll_nats:.6f} there and {expected:.6f} here"
        )
