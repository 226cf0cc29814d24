"""``score``: calibration data in, sensitivity table out; resumable batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from sigmaquant.calibration import Batch, data_digest, read_batches
from sigmaquant.divergence import Rises, UserLoss
from sigmaquant.errors import ConfigError, DataError
from sigmaquant.network import Network
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import ROUNDINGS
from sigmaquant.scores import SensitivityTable
from sigmaquant.sensitivity.accumulate import Sums, resume
from sigmaquant.sensitivity.candidates import Candidates, weight_candidates
from sigmaquant.sensitivity.loss import LossMetric
from sigmaquant.sensitivity.taylor import TaylorMetric


class Metric(Protocol):
    """A way to score candidates on one batch."""

    def rises(
        self,
        network: Network,
        batch: Batch,
        candidates: Candidates,
        loss: UserLoss | None,
        advance: Callable[[], None],
    ) -> tuple[Rises, Tensor]:
        """Score every candidate on one batch.

        Args:
            network: the float network.
            batch: inputs and, for a user's loss, targets.
            candidates: rounded weights by layer and width.
            loss: the user's own, or None for the divergence from the float outputs.
            advance: to be called after each layer.

        Returns:
            The loss rises, (samples,) for each layer and width, and the float network's losses,
            (samples,).
        """
        ...


METRICS: dict[str, Callable[[int], Metric]] = {
    "loss": lambda seed: LossMetric(),
    "taylor": lambda seed: TaylorMetric(seed),
}
"""Metrics by name; each is made from a seed."""


def score(
    network: Network,
    calibration: Iterable[Any],
    *,
    metric: str = "loss",
    rounding: str = "compensated",
    loss: UserLoss | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
) -> SensitivityTable:
    """How much the loss rises when one layer alone is quantized, for every layer and width.

    Args:
        network: the captured float network.
        calibration: a loader of inputs, with labels if ``loss`` needs them.
        metric: "loss" measures each candidate; "taylor" estimates all of them from one backward
            pass a batch.
        rounding: how candidates are rounded: "compensated" or "nearest".
        loss: the user's own loss, from outputs and target to a scalar; by default the divergence
            from the float network's outputs, which needs no labels.
        seed: of every random draw.
        checkpoint: a file in which progress is kept, so that a killed run goes on; removed at the
            end.

    Raises:
        ConfigError: unknown metric or rounding.
        DataError: unusable data, or a loss that is not finite.
        ArtifactError: the checkpoint is damaged.
        OutputError: the checkpoint cannot be written.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    if rounding not in ROUNDINGS:
        raise ConfigError(f"unknown rounding {rounding!r}; known: {', '.join(ROUNDINGS)}")
    batches = read_batches(calibration, network, what="calibration")
    measure = METRICS[metric](seed)
    options = f"{metric} {rounding} {seed} {'' if loss is None else _name(loss)}"
    inputs = _digest(network.digest(), data_digest(batches), options)
    path = None if checkpoint is None else Path(checkpoint)
    sums = resume(path, inputs)
    candidates = weight_candidates(network, batches, rounding)
    with progress_bar("scoring", len(batches) * len(candidates)) as advance:
        for batch in batches[sums.batches :]:
            rises, before = measure.rises(network, batch, candidates, loss, advance)
            sums = _checked(sums.plus(rises, before))
            if path is not None:
                sums.save(path)
    if path is not None:
        path.unlink(missing_ok=True)
    return SensitivityTable(
        metric=metric,
        loss="divergence" if loss is None else _name(loss),
        rounding=rounding,
        float_loss=sums.float_loss / sums.samples,
        samples=sums.samples,
        seed=seed,
        inputs=inputs,
        scores=sums.scores(),
    )


def _name(loss: UserLoss) -> str:
    return getattr(loss, "__qualname__", type(loss).__name__)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _checked(sums: Sums) -> Sums:
    for layer, by_width in sums.first.items():
        for bits, total in by_width.items():
            if total != total or total in (float("inf"), float("-inf")):
                raise DataError(
                    f"the loss is not finite with {layer} at {bits} bits; check the loss function "
                    "and the scale of the inputs"
                )
    return sums
