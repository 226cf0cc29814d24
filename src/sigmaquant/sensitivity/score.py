"""``score``: calibration data in, sensitivity table out; resumable batch by batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from sigmaquant.calibration import Batch, data_digest, read_batches
from sigmaquant.divergence import UserLoss, loss_name
from sigmaquant.errors import ConfigError, DataError
from sigmaquant.layers import ACTIVATION_WIDTHS
from sigmaquant.network import Network
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import check_rounding
from sigmaquant.scores import SensitivityTable
from sigmaquant.sensitivity.accumulate import BatchRises, Sums, resume
from sigmaquant.sensitivity.candidates import (
    Candidates,
    activation_candidates,
    weight_candidates,
)
from sigmaquant.sensitivity.loss import LossMetric
from sigmaquant.sensitivity.sigma import sigma_scores, weight_sigmas
from sigmaquant.sensitivity.taylor import TaylorMetric


class Metric(Protocol):
    """A way to score candidates on one batch."""

    def rises(
        self,
        network: Network,
        batch: Batch,
        candidates: Candidates,
        loss: UserLoss | None,
        seed: int,
        advance: Callable[[], None],
    ) -> BatchRises:
        """Score every candidate on one batch.

        Args:
            network: the float network.
            batch: inputs and, for a user's loss, targets.
            candidates: rounded weights and encodings.
            loss: the user's own, or None for the divergence from the float outputs.
            seed: of this batch's random draws.
            advance: to be called after each layer.
        """
        ...


METRICS: dict[str, Metric] = {"taylor": TaylorMetric(), "loss": LossMetric()}
"""Metrics that see data, by name; "sigma" sees none."""

WITHOUT_DATA = "sigma"
_SEEDS_APART = 2**20  # more than there are batches, so that no two seeds share a batch's draws


def score(
    network: Network,
    calibration: Iterable[Any] | None = None,
    *,
    metric: str = "taylor",
    rounding: str = "compensated",
    loss: UserLoss | None = None,
    activation_widths: Sequence[int] = (),
    seed: int = 0,
    checkpoint: str | Path | None = None,
) -> SensitivityTable:
    """How much the loss rises when one layer alone is quantized, for every layer and width.

    Args:
        network: the captured float network.
        calibration: a loader of inputs, with labels if ``loss`` needs them; only "sigma" does
            without.
        metric: "taylor" estimates all candidates from one backward pass a batch; "loss" measures
            each of them; "sigma" looks at the weights alone.
        rounding: how candidates are rounded: "compensated" or "nearest".
        loss: the user's own loss, from outputs and target to a scalar; by default the divergence
            from the float network's outputs, which needs no labels.
        activation_widths: score activations at these widths too, for devices that run several.
        seed: of every random draw.
        checkpoint: a file in which progress is kept, so that a killed run goes on; removed at the
            end.

    Raises:
        ConfigError: unknown metric, rounding or activation width, a metric that needs data, or a
            loss that is no scalar.
        DataError: unusable data, or a loss that is not finite.
        ArtifactError: the checkpoint is damaged.
        OutputError: the checkpoint cannot be written.
    """
    _check_options(metric, rounding, activation_widths, calibration)
    if metric == WITHOUT_DATA:
        return sigma_scores(network)
    assert calibration is not None
    batches = read_batches(calibration, network, what="calibration")
    widths = tuple(sorted(set(activation_widths)))
    named = loss_name(loss)
    options = f"{metric} {rounding} {seed} {named} {widths}"
    inputs = _digest(network.digest(), data_digest(batches), options)
    path = None if checkpoint is None else Path(checkpoint)
    sums = resume(path, inputs)
    candidates = Candidates(
        weight_candidates(network, batches, rounding),
        activation_candidates(network, batches, widths),
    )
    left = batches[sums.batches :]
    with progress_bar("scoring", len(left) * len(candidates.weights)) as advance:
        for number, batch in enumerate(left, start=sums.batches):
            own = (seed * _SEEDS_APART + number) % 2**63  # as large as torch takes
            rises = METRICS[metric].rises(network, batch, candidates, loss, own, advance)
            sums = _checked(sums.plus(rises))
            if path is not None:
                sums.save(path)
    if path is not None:
        path.unlink(missing_ok=True)
    return SensitivityTable(
        metric=metric,
        loss=named,
        rounding=rounding,
        float_loss=sums.float_loss / sums.samples,
        samples=sums.samples,
        seed=seed,
        inputs=inputs,
        scores=sums.weights.scores(sums.samples, sums.independent),
        activation_scores=sums.activations.scores(sums.samples, sums.independent),
        weight_sigmas=weight_sigmas(network),
    )


def _check_options(
    metric: str, rounding: str, activation_widths: Sequence[int], calibration: object | None
) -> None:
    known = (*METRICS, WITHOUT_DATA)
    if metric not in known:
        raise ConfigError(f"unknown metric {metric!r}; known: {', '.join(known)}")
    check_rounding(rounding)
    odd = [bits for bits in activation_widths if bits not in ACTIVATION_WIDTHS]
    if odd:
        widths = ", ".join(map(str, ACTIVATION_WIDTHS))
        raise ConfigError(f"activations cannot have {odd[0]} bits; known: {widths}")
    if metric != WITHOUT_DATA and calibration is None:
        raise ConfigError(
            f"the metric {metric!r} needs calibration data: a few hundred typical inputs, without "
            f"labels; only {WITHOUT_DATA!r} does without"
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _checked(sums: Sums) -> Sums:
    for totals in (sums.weights, sums.activations):
        for name, by_width in totals.first.items():
            for bits, total in by_width.items():
                if not math.isfinite(total):
                    raise DataError(
                        f"the loss is not finite with {name} at {bits} bits; check the loss "
                        "function and the scale of the inputs"
                    )
    return sums
